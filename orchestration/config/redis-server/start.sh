#!/bin/sh
# Redis reads the passwords from standard input, because ps shows arguments and files persist.
# The status page's account can only count waiting tasks.
exec redis-server /etc/redis/redis.conf - <<EOF
requirepass ${REDIS_PASSWORD:?}
user status on >${STATUS_PASSWORD:?} %R~default %R~unacked +ping +info +client|list +llen +hlen +multi +exec
EOF
