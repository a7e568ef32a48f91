#!/bin/bash
# The parts of the official image's contract that the compose file uses: POSTGRES_USER,
# POSTGRES_PASSWORD, POSTGRES_DB, POSTGRES_INITDB_ARGS, PGDATA, /docker-entrypoint-initdb.d.
# The standalone engine runs this script too, with its own folders.
set -euo pipefail

SCRIPTS=${POSTGRES_INIT_SCRIPTS:-/docker-entrypoint-initdb.d}
SOCKETS=${POSTGRES_SOCKETS:-/var/run/postgresql}

[[ ${1:-} == postgres ]] || exec "$@"

if [[ $(id -u) == 0 ]]; then
    install -d -m 0700 -o postgres -g postgres "$PGDATA"
    find "$PGDATA" ! -user postgres -exec chown postgres:postgres {} +
    exec setpriv --reuid=postgres --regid=postgres --init-groups --inh-caps=-all "$0" "$@"
fi

first_start() {
    : "${POSTGRES_PASSWORD:?must be set for the first start}"
    export POSTGRES_USER=${POSTGRES_USER:-postgres}
    # Created in a temporary folder and moved when complete, so an interrupted first start begins again.
    local fresh=$PGDATA/.initialising
    rm -rf "$fresh"
    # shellcheck disable=SC2086  # by contract, the variable contains several arguments
    initdb --pgdata="$fresh" --username="$POSTGRES_USER" --pwfile=<(printf '%s\n' "$POSTGRES_PASSWORD") \
        ${POSTGRES_INITDB_ARGS:-}
    printf 'host all all all scram-sha-256\n' >>"$fresh/pg_hba.conf"

    # On a private socket, so that no client mistakes this temporary server for the real one.
    local private
    private=$(mktemp -d)
    pg_ctl --pgdata="$fresh" --options="-c listen_addresses='' -c unix_socket_directories=$private" --wait --silent start
    export PGHOST=$private PGUSER=$POSTGRES_USER PGPASSWORD=$POSTGRES_PASSWORD PGDATABASE=postgres
    if [[ ${POSTGRES_DB:-postgres} != postgres ]]; then createdb "$POSTGRES_DB"; fi
    local script
    for script in "$SCRIPTS"/*; do
        case $script in
            *.sh) bash "$script" ;;
            *.sql) psql --no-psqlrc --set ON_ERROR_STOP=1 --file="$script" ;;
        esac
    done
    pg_ctl --pgdata="$fresh" --mode=fast --wait --silent stop
    unset PGHOST PGUSER PGPASSWORD PGDATABASE
    rm -rf "$private"
    (shopt -s dotglob && mv "$fresh"/* "$PGDATA/") && rmdir "$fresh"
}

if [[ ! -s $PGDATA/PG_VERSION ]]; then first_start; fi
exec "$@" -c "listen_addresses=${POSTGRES_LISTEN-*}" -c "unix_socket_directories=$SOCKETS"
