#!/bin/sh
# Lines for .env that name each public image by the digest it was pulled with:
#   install/base/digests.sh >>.env       after inv install; of two lines the last one counts
# What was made here has no digest, as no registry gave it: told, and left as it is.
set -eu

cd "$(dirname "$0")/../.."
[ -e .env ] || { echo "digests.sh: there is no .env: inv install" >&2; exit 1; }
for name in DEBIAN_IMAGE POSTGRES_IMAGE REDIS_IMAGE AIRFLOW_BASE_IMAGE; do
    image=$(sed -n "s/^$name=//p" .env | tail -n 1)
    # A tag stays for people; Docker goes by the digest alone.
    image=${image%@*}
    digest=$(docker image inspect --format '{{range .RepoDigests}}{{println .}}{{end}}' "$image" 2>/dev/null |
        sed -n 's/.*@//p' | head -n 1) || true
    if [ -n "$digest" ]; then
        echo "$name=$image@$digest"
    else
        echo "digests.sh: $name: $image was not pulled from a registry" >&2
    fi
done
