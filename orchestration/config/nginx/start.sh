#!/bin/sh
# nginx reads no environment. Which hosts it answers for, and who may see the status page, reach it
# as files in memory; the password is hashed, and no argument that ps would show.
set -eu
umask 077
printf '%s\n' localhost 127.0.0.1 "${PUBLIC_HOST:?set PUBLIC_HOST in .env}" |
    tr '[:upper:]' '[:lower:]' | sort -u | sed 's/$/ 0;/' >/tmp/hosts
hash=$(printf '%s' "${STATUS_PAGE_PASSWORD:?}" | openssl passwd -6 -stdin)
printf 'status:%s\n' "$hash" >/tmp/people
unset STATUS_PAGE_PASSWORD
exec nginx -c /opt/stack/nginx/nginx.conf
