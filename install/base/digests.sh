#!/bin/sh
# Print lines for .env that pin each public image to the digest with which it was pulled:
#   install/base/digests.sh >>.env       after inv install; the last line of a name applies
# Images that were built here have no digest from a registry. They are listed and not pinned.
set -eu

cd "$(dirname "$0")/../.."
[ -e .env ] || { printf 'digests.sh: .env is missing.\nRun: inv install\n' >&2; exit 1; }
for name in DEBIAN_IMAGE POSTGRES_IMAGE REDIS_IMAGE AIRFLOW_BASE_IMAGE; do
    image=$(sed -n "s/^$name=//p" .env | tail -n 1)
    # The tag stays for people. Docker uses only the digest.
    image=${image%@*}
    digest=$(docker image inspect --format '{{range .RepoDigests}}{{println .}}{{end}}' "$image" 2>/dev/null |
        sed -n 's/.*@//p' | head -n 1) || true
    if [ -n "$digest" ]; then
        echo "$name=$image@$digest"
    else
        echo "digests.sh: $name: $image was not pulled from a registry." >&2
    fi
done
