# MLflow's tracking server and registry with its PostgreSQL and S3 drivers. Starting installs nothing.
ARG DEBIAN_IMAGE=debian:bookworm-slim

FROM ${DEBIAN_IMAGE} AS uv
ARG PYPI_INDEX_URL=
COPY uv.lock /uv.lock
RUN --mount=type=secret,id=ca_bundle \
    apt-get -qq update && apt-get -qq install -y --no-install-recommends python3-venv ca-certificates >/dev/null \
    && if [ -s /run/secrets/ca_bundle ]; then export PIP_CERT=/run/secrets/ca_bundle; fi \
    && python3 -m venv /uv && /uv/bin/pip install -q ${PYPI_INDEX_URL:+--index-url "$PYPI_INDEX_URL"} --require-hashes -r /uv.lock

FROM ${DEBIAN_IMAGE}
ARG PYPI_INDEX_URL=
RUN apt-get -qq update \
    && apt-get -qq install -y --no-install-recommends python3 dumb-init curl ca-certificates >/dev/null \
    && apt-get clean && rm -rf /var/lib/apt/lists/* \
    && useradd --uid 50001 --gid 0 --create-home mlflow \
    && install -d -o mlflow -g 0 -m 2775 /mlflow_data
RUN --mount=type=bind,from=uv,source=/uv/bin/uv,target=/usr/local/bin/uv \
    --mount=type=bind,source=mlflow.lock,target=/tmp/mlflow.lock \
    --mount=type=bind,source=leave_out_tests.sh,target=/tmp/leave_out_tests.sh \
    --mount=type=cache,target=/root/.cache/uv --mount=type=secret,id=ca_bundle \
    if [ -s /run/secrets/ca_bundle ]; then export SSL_CERT_FILE=/run/secrets/ca_bundle; fi \
    && export UV_CACHE_DIR=/root/.cache/uv UV_LINK_MODE=copy \
    && uv venv -q --python /usr/bin/python3 /opt/mlflow \
    && uv pip install -q --python /opt/mlflow ${PYPI_INDEX_URL:+--default-index "$PYPI_INDEX_URL"} \
        --compile-bytecode --require-hashes -r /tmp/mlflow.lock \
    && sh /tmp/leave_out_tests.sh /opt/mlflow
ENV PATH=/opt/mlflow/bin:$PATH LANG=C.UTF-8 PYTHONUNBUFFERED=1 HOME=/home/mlflow
USER 50001:0
WORKDIR /home/mlflow
ENTRYPOINT ["dumb-init", "--"]
CMD ["mlflow", "server"]
