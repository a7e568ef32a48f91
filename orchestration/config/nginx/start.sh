#!/bin/sh
# nginx does not read environment variables. So this writes the allowed hosts and the login of the
# status page to files in memory. The password is hashed, and never an argument, which ps would show.
set -eu
umask 077
printf '%s\n' localhost 127.0.0.1 "${PUBLIC_HOST:?set PUBLIC_HOST in .env}" |
    tr '[:upper:]' '[:lower:]' | sort -u | sed 's/$/ 0;/' >/tmp/hosts
hash=$(printf '%s' "${STATUS_PAGE_PASSWORD:?}" | openssl passwd -6 -stdin)
printf 'status:%s\n' "$hash" >/tmp/people
unset STATUS_PAGE_PASSWORD
exec nginx -c /opt/stack/nginx/nginx.conf
