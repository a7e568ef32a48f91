#!/bin/sh
# Redis reads the passwords from standard input, because ps shows arguments and files persist.
# The status page's account can only count messages and list clients.
exec redis-server /etc/redis/redis.conf - <<EOF
requirepass ${REDIS_PASSWORD:?}
user status on >${STATUS_PASSWORD:?} %R~default %R~unacked %R~unacked_index +ping +info +client|list +llen +hlen +zcount +multi +exec
EOF
