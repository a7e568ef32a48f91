#!/bin/sh
# The passwords reach Redis on standard input: arguments are shown by ps, files stay behind.
# The status page's account counts what waits, and may do nothing else.
exec redis-server /etc/redis/redis.conf - <<EOF
requirepass ${REDIS_PASSWORD:?}
user status on >${STATUS_PASSWORD:?} %R~default %R~unacked +ping +info +client|list +llen +hlen +multi +exec
EOF
