#!/bin/sh
# Build the base image from the distribution's packages, for hosts that reach no container registry:
#   install/base/debian.sh IMAGE        e.g. debian:bookworm-slim
# Needs root, because debootstrap creates devices and uses chroot. Takes about 40 s.
set -eu

IMAGE=${1:?usage: install/base/debian.sh IMAGE}
SUITE=bookworm

fail() { printf 'debian.sh: %s\n' "$*" >&2; exit 1; }

[ "$(id -u)" -eq 0 ] || fail "Root is required. Run: sudo install/base/debian.sh $IMAGE"
# Without Debian's own keys debootstrap would only warn and install unverified packages.
KEYS=/usr/share/keyrings/debian-archive-keyring.gpg
if ! command -v debootstrap >/dev/null || ! command -v gpgv >/dev/null || [ ! -e "$KEYS" ]; then
    command -v apt-get >/dev/null ||
        fail "debootstrap, gpgv or debian-archive-keyring is missing. Install them from your distribution."
    apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends \
        debootstrap gpgv debian-archive-keyring >/dev/null
fi

# Use the mirrors of this host, or else debootstrap's default.
# shellcheck disable=SC2016  # apt expands these
uri_of() { apt-get indextargets --format '$(REPO_URI) $(RELEASE)' 2>/dev/null | awk -v r="$1" '$2 == r { print $1; exit }'; }

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT INT TERM
main=$(uri_of "$SUITE")
debootstrap --force-check-gpg --keyring="$KEYS" --variant=minbase --include=ca-certificates "$SUITE" "$work/root" ${main:+"$main"} >"$work/log" 2>&1 ||
    { tail -n 5 "$work/log" >&2; fail "debootstrap failed."; }

sources=$work/root/etc/apt/sources.list
main=${main:-$(awk '/^deb / { print $2; exit }' "$sources")}
security=$(uri_of "$SUITE-security")
{
    echo "deb $main $SUITE main"
    echo "deb $main $SUITE-updates main"
    echo "deb ${security:-${main%/}-security/} $SUITE-security main"
} >"$sources"

# Slim like the official variant: no manuals, translations or package lists.
cat >"$work/root/etc/dpkg/dpkg.cfg.d/slim" <<'EOF'
path-exclude /usr/share/doc/*
path-include /usr/share/doc/*/copyright
path-exclude /usr/share/man/*
path-exclude /usr/share/info/*
path-exclude /usr/share/locale/*
EOF
find "$work/root/usr/share/doc" -mindepth 2 ! -name copyright -delete 2>/dev/null || true
rm -rf "$work"/root/usr/share/man/* "$work"/root/usr/share/info/* "$work"/root/usr/share/locale/*
chroot "$work/root" sh -c 'apt-get -qq update && apt-get -qq -y upgrade && apt-get clean' >"$work/log" 2>&1 ||
    { tail -n 5 "$work/log" >&2; fail "The security updates could not be installed."; }
rm -rf "$work"/root/var/lib/apt/lists/* "$work"/root/var/cache/apt/*.bin "$work"/root/var/log/*.log
: >"$work/root/etc/machine-id"

tar -C "$work/root" -c . | docker import \
    --change 'CMD ["bash"]' --change 'LABEL org.mlops-stack.built-from=debootstrap' - "$IMAGE" >/dev/null
