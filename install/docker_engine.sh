#!/bin/sh
# Install Docker Engine, Compose v2 and the command `docker-compose` on Debian or Ubuntu, from the
# distribution's own packages, with or without systemd. Safe to run again.
set -eu

COMPOSE_SUITE=trixie   # bookworm's docker-compose is 1.29; trixie's 2.26 is one static binary
PLUGIN=/usr/libexec/docker/cli-plugins/docker-compose

log()  { printf 'docker_engine: %s\n' "$*"; }
fail() { printf 'docker_engine: %s\n' "$*" >&2; exit 1; }

# The compose file needs version 2.20 or newer (orchestration/host/minimums.py).
is_new_enough()  { grep -Eq '^v?(2\.([2-9][0-9]|[1-9][0-9]{2})|[3-9]|[1-9][0-9]+)\.'; }
engine_answers() { $SUDO docker version --format '{{.Server.Version}}' >/dev/null 2>&1; }
compose_fits()   { docker compose version --short 2>/dev/null | is_new_enough; }
package_fits()   { LC_ALL=C apt-cache policy "$1" 2>/dev/null | sed -n 's/^ *Candidate: \([0-9]*:\)\{0,1\}//p' | is_new_enough; }

SUDO=
if [ "$(id -u)" -ne 0 ]; then
    command -v sudo >/dev/null || fail "Root is required, and sudo is not installed. Run this script as root."
    SUDO=sudo
fi

if engine_answers && compose_fits && command -v docker-compose >/dev/null; then
    log "Docker Engine $($SUDO docker version --format '{{.Server.Version}}') and Compose $(docker compose version --short) are installed. Nothing to do."
    exit 0
fi

# shellcheck source=/dev/null
. /etc/os-release
case " ${ID:-} ${ID_LIKE:-} " in
    *" debian "*|*" ubuntu "*) ;;
    *) fail "This script supports Debian and Ubuntu, not ${PRETTY_NAME:-this system}. Install Docker Engine and Compose v2 from your distribution, then run: ./install/1st_run_install.sh" ;;
esac
command -v apt-get >/dev/null || fail "apt-get is missing. Install Docker Engine and Compose v2 manually."

cat <<EOF
docker_engine: On ${PRETTY_NAME:-this system} this script will, as root:
  - install docker.io (Docker Engine) from the distribution, if no engine is installed
  - install Compose v2 as a Docker plugin, if it is missing or older than 2.20, and the command
    docker-compose
  - start the engine (a daemon with root rights)
EOF

export DEBIAN_FRONTEND=noninteractive
apt_install() { $SUDO env DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends "$@" >/dev/null; }

log "Reading package lists"
$SUDO apt-get update -qq

if ! command -v dockerd >/dev/null; then
    log "Installing docker.io"
    apt_install docker.io iptables ca-certificates
fi

# Unpack the package of the newer suite next to the distribution's files, verified by apt with Debian's
# own keys. Nothing else of that suite is installed.
compose_from_newer_suite() {
    keyring=/usr/share/keyrings/debian-archive-keyring.gpg
    [ -r "$keyring" ] || apt_install debian-archive-keyring
    # shellcheck disable=SC2016  # apt expands these
    mirror=$(apt-get indextargets --format '$(REPO_URI) $(RELEASE)' | awk -v s="${VERSION_CODENAME:-}" '$2 == s { print $1; exit }')
    [ -n "$mirror" ] || fail "apt has no mirror for ${VERSION_CODENAME:-this release}. Add one to apt's sources."
    work=$(mktemp -d)
    mkdir -p "$work/lists/partial" "$work/cache/archives/partial"
    printf 'deb [signed-by=%s] %s %s main\n' "$keyring" "$mirror" "$COMPOSE_SUITE" > "$work/sources.list"
    cat > "$work/apt.conf" <<EOF
Dir::Etc::SourceList "$work/sources.list";
Dir::Etc::SourceParts "/dev/null";
Dir::State::Lists "$work/lists";
Dir::Cache "$work/cache";
APT::Sandbox::User "root";
EOF
    (cd "$work" && $SUDO env APT_CONFIG="$work/apt.conf" apt-get update -qq &&
        $SUDO env APT_CONFIG="$work/apt.conf" apt-get download -qq docker-compose)
    dpkg-deb -x "$work"/docker-compose_*.deb "$work/unpacked"
    $SUDO install -D -m 0755 "$work/unpacked$PLUGIN" "$PLUGIN"
    $SUDO rm -rf "$work"
}

# Docker searches other folders before that of the package, where an older plugin would hide the new one.
replace_older_plugins() {
    for folder in "${DOCKER_CONFIG:-$HOME/.docker}" /usr/local/lib/docker /usr/local/libexec/docker /usr/lib/docker; do
        older=$folder/cli-plugins/docker-compose
        if ! compose_fits && [ -x "$PLUGIN" ] && [ -e "$older" ]; then
            log "Replacing $older with a link to $PLUGIN"
            $SUDO ln -sf "$PLUGIN" "$older"
        fi
    done
}

if ! compose_fits; then
    log "Installing Compose v2"
    # The first package exists only if the engine comes from Docker's own repository.
    if package_fits docker-compose-plugin; then apt_install docker-compose-plugin
    elif package_fits docker-compose-v2; then apt_install docker-compose-v2
    elif package_fits docker-compose; then apt_install docker-compose
    else compose_from_newer_suite
    fi
    replace_older_plugins
fi

if ! command -v docker-compose >/dev/null; then
    for plugin in "$PLUGIN" /usr/lib/docker/cli-plugins/docker-compose /usr/local/lib/docker/cli-plugins/docker-compose; do
        [ -x "$plugin" ] && { $SUDO ln -sf "$plugin" /usr/local/bin/docker-compose; break; }
    done
fi

start_engine() {
    if [ -d /run/systemd/system ]; then
        $SUDO systemctl enable --now docker
    else
        # The pid file of a killed engine may contain the pid of another program by now, and the
        # engine would then refuse to start.
        pgrep -x dockerd >/dev/null || $SUDO rm -f /run/docker.pid /run/docker/containerd/containerd.pid
        # Detached and without our pipes, because the caller may exit before the engine does.
        # shellcheck disable=SC2024
        $SUDO sh -c 'setsid nohup dockerd </dev/null >>/var/log/dockerd.log 2>&1 &'
    fi
}

if ! engine_answers; then
    log "Starting the engine"
    start_engine
    tries=0
    until engine_answers; do
        tries=$((tries + 1))
        [ "$tries" -le 60 ] || fail "The engine did not answer within 30 s. See /var/log/dockerd.log, or run: journalctl -u docker"
        sleep 0.5
    done
fi

if [ -n "$SUDO" ] && ! id -nG | tr ' ' '\n' | grep -qx docker; then
    log "Adding $(id -un) to the group docker, which has root rights through the engine"
    $SUDO usermod -aG docker "$(id -un)"
fi
compose_fits || fail "Compose 2.20 or newer was installed, but does not answer. Run: docker compose version"
log "Ready: engine $($SUDO docker version --format '{{.Server.Version}}'), Compose $(docker compose version --short)"
