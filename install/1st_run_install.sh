#!/bin/sh
# From a bare machine to a running, verified stack:
#   ./install/1st_run_install.sh [--with-docker] [COMMAND …]     (default: inv install up)
# Needs a shell and Python 3.11 or newer. Creates .venv from install/host.lock, then runs COMMAND in it.
set -eu

log()  { printf '1st_run_install: %s\n' "$*"; }
fail() { printf '1st_run_install: %s\n' "$*" >&2; exit 1; }

case "${1:-}" in
    -h|--help) sed -n '2,4s/^# \{0,1\}//p' "$0"; exit 0 ;;
esac
with_docker=
if [ "${1:-}" = --with-docker ]; then with_docker=yes; shift; fi
case "${1:-}" in -*) printf '1st_run_install: Unknown option %s.\nUsage: %s [--with-docker] [COMMAND …]\n' "$1" "$0" >&2; exit 2 ;; esac

cd "$(dirname "$0")/.."

is_311()    { "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; }
has_venv()  { "$1" -c 'import ensurepip, venv' 2>/dev/null; }
find_python() {
    for name in python3.13 python3.12 python3.11 python3 /usr/bin/python3; do
        if command -v "$name" >/dev/null && is_311 "$name" && "$@" "$name"; then command -v "$name"; return; fi
    done
}

make_venv() {
    python=$(find_python has_venv)
    if [ -z "$python" ]; then
        python=$(find_python true)
        [ -n "$python" ] || fail "Python 3.11 or newer is required. On Debian 12, Ubuntu 24.04 or later, run: apt-get install python3 python3-venv"
        command -v apt-get >/dev/null || fail "$python has no ensurepip. Install the venv package of your distribution."
        [ "$(id -u)" -eq 0 ] || fail "$python has no ensurepip. Run: sudo apt-get install python3-venv, then run this script again."
        log "Installing python3-venv"
        apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends python3-venv >/dev/null
        has_venv "$python" || fail "$python still has no ensurepip after python3-venv was installed."
    fi
    log "Creating .venv with $("$python" --version)"
    rm -rf .venv
    "$python" -m venv .venv
    .venv/bin/python -m pip install -q --disable-pip-version-check --require-hashes -r install/uv.lock
}

# In a copied or moved checkout, the scripts in .venv point to the old place, so create it again.
.venv/bin/uv --version >/dev/null 2>&1 && .venv/bin/python -c '' 2>/dev/null &&
    [ "$(.venv/bin/python -c 'import sys; print(sys.prefix)')" = "$PWD/.venv" ] || make_venv

stamp=.venv/.host.lock
if ! cmp -s install/host.lock "$stamp"; then
    log "Installing the tools of install/host.lock"
    # Compile now, because Invoke prevents it later, and each `inv` would take half a second more.
    UV_SYSTEM_CERTS=1 .venv/bin/uv pip sync -q --python .venv/bin/python --compile-bytecode --require-hashes install/host.lock
    cp install/host.lock "$stamp"
fi

# Install the engine last, so that earlier errors do not leave it behind.
if [ -n "$with_docker" ]; then sh install/docker_engine.sh; fi

[ $# -gt 0 ] || set -- inv install up
PATH="$PWD/.venv/bin:$PATH"
VIRTUAL_ENV="$PWD/.venv"
export PATH VIRTUAL_ENV

# A user who was just added to the group docker has it only in a new login.
if [ -n "$with_docker" ] && [ "$(id -u)" -ne 0 ] && ! docker version >/dev/null 2>&1 && command -v sg >/dev/null; then
    command_line=$(printf "'%s' " "$@")
    exec sg docker -c "$command_line"
fi
exec "$@"
