#!/bin/sh
# The password reaches Redis on standard input: arguments are shown by ps, files stay behind.
exec redis-server /etc/redis/redis.conf - <<EOF
requirepass ${REDIS_PASSWORD:?}
EOF
