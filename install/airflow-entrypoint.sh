#!/bin/bash
# Give any uid of group 0 a name and a home, which getpass and airflow need, then run the command:
# `airflow …`, another program, or only the arguments of airflow (`scheduler`).
set -euo pipefail

if ! whoami >/dev/null 2>&1; then
    # If the file is read-only, getpass uses the name from the environment.
    if [[ -w /etc/passwd ]]; then
        printf 'default:x:%s:0:default user:%s:/bin/bash\n' "$(id -u)" "$HOME" >>/etc/passwd
    fi
    export USER=default LOGNAME=default
fi
umask 0002
case ${1:-} in
    "" | airflow) exec "${@:-airflow}" ;;
    *) if command -v "$1" >/dev/null; then exec "$@"; else exec airflow "$@"; fi ;;
esac
