# The status page. It depends on the stack only through environment variables.
ARG DEBIAN_IMAGE=debian:bookworm-slim

FROM ${DEBIAN_IMAGE} AS uv
ARG PYPI_INDEX_URL=
COPY install/uv.lock /uv.lock
RUN --mount=type=secret,id=ca_bundle \
    apt-get -qq update && apt-get -qq install -y --no-install-recommends python3-venv ca-certificates >/dev/null \
    && if [ -s /run/secrets/ca_bundle ]; then export PIP_CERT=/run/secrets/ca_bundle; fi \
    && python3 -m venv /uv && /uv/bin/pip install -q ${PYPI_INDEX_URL:+--index-url "$PYPI_INDEX_URL"} --require-hashes -r /uv.lock

FROM ${DEBIAN_IMAGE}
ARG PYPI_INDEX_URL=
RUN apt-get -qq update \
    && apt-get -qq install -y --no-install-recommends python3 dumb-init curl >/dev/null \
    && apt-get clean && rm -rf /var/lib/apt/lists/* \
    && useradd --uid 50002 --gid 0 --create-home status
RUN --mount=type=bind,from=uv,source=/uv/bin/uv,target=/usr/local/bin/uv \
    --mount=type=bind,source=install/status.lock,target=/tmp/status.lock \
    --mount=type=cache,target=/root/.cache/uv --mount=type=secret,id=ca_bundle \
    if [ -s /run/secrets/ca_bundle ]; then export SSL_CERT_FILE=/run/secrets/ca_bundle; fi \
    && export UV_CACHE_DIR=/root/.cache/uv UV_LINK_MODE=copy \
    && uv venv -q --python /usr/bin/python3 /opt/status \
    && uv pip install -q --python /opt/status ${PYPI_INDEX_URL:+--default-index "$PYPI_INDEX_URL"} \
        --compile-bytecode --require-hashes -r /tmp/status.lock
# The modes do not depend on the umask of the clone.
COPY --chmod=755 status /app/status
ENV PATH=/opt/status/bin:$PATH LANG=C.UTF-8 PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
USER 50002:0
WORKDIR /app
ENTRYPOINT ["dumb-init", "--"]
CMD ["python", "-m", "status.server"]
