# Airflow 3.0.1 with the contract of its official image: user airflow (50000:0), /opt/airflow,
# /home/airflow/.local, dumb-init, any uid of group 0. AIRFLOW_BASE_IMAGE may be the official image.
# Then only install/requirements.txt is added, without changing the versions in that image.
ARG DEBIAN_IMAGE=debian:bookworm-slim
ARG AIRFLOW_BASE_IMAGE=${DEBIAN_IMAGE}

FROM ${DEBIAN_IMAGE} AS uv
ARG PYPI_INDEX_URL=
COPY uv.lock /uv.lock
RUN --mount=type=secret,id=ca_bundle \
    apt-get -qq update && apt-get -qq install -y --no-install-recommends python3-venv ca-certificates >/dev/null \
    && if [ -s /run/secrets/ca_bundle ]; then export PIP_CERT=/run/secrets/ca_bundle; fi \
    && python3 -m venv /uv && /uv/bin/pip install -q ${PYPI_INDEX_URL:+--index-url "$PYPI_INDEX_URL"} --require-hashes -r /uv.lock

# Without comments, so that a changed comment leaves the image as it is.
FROM ${DEBIAN_IMAGE} AS sources
COPY requirements.txt packages.txt /in/
COPY --chmod=755 wheels /sources/wheels
RUN for file in requirements packages; do \
        sed -E 's/\r$//; s/(^|[[:space:]])#.*//; s/[[:space:]]+$//; /^$/d' "/in/$file.txt" >"/sources/$file.txt"; \
    done && rm -f /sources/wheels/*.md

FROM ${AIRFLOW_BASE_IMAGE}
ARG PYPI_INDEX_URL=
USER root
# uv can only install another Python for a task where the user may write.
ENV AIRFLOW_HOME=/opt/airflow HOME=/home/airflow PATH=/home/airflow/.local/bin:$PATH \
    LANG=C.UTF-8 PYTHONUNBUFFERED=1 DUMB_INIT_SETSID=1 UV_PYTHON_INSTALL_DIR=/home/airflow/python
RUN if ! command -v airflow >/dev/null; then \
        apt-get -qq update \
        && apt-get -qq install -y --no-install-recommends python3 dumb-init curl ca-certificates tzdata >/dev/null \
        && apt-get clean && rm -rf /var/lib/apt/lists/* \
        && useradd --uid 50000 --gid 0 --create-home --home-dir /home/airflow airflow \
        && chmod g=u /etc/passwd /home/airflow \
        && install -d -o airflow -g 0 -m 2775 /opt/airflow /opt/airflow/dags /opt/airflow/logs /opt/airflow/plugins; \
    fi && install -d -o 50000 -g 0 -m 2775 /opt/airflow/data

COPY --chmod=755 airflow-entrypoint.sh /usr/local/bin/airflow-entrypoint

# Three layers of Python packages: Airflow, requirements.txt as of the last `inv lock`, and
# requirements.txt now. So a changed requirement installs only the difference. Bytecode is compiled here, because
# containers cannot store it and would compile at every start. Tests of packages are removed in the
# same step, because a later layer would only hide them.
RUN --mount=type=bind,from=uv,source=/uv/bin/uv,target=/usr/local/bin/uv \
    --mount=type=bind,source=airflow.lock,target=/tmp/airflow.lock \
    --mount=type=cache,target=/root/.cache/uv --mount=type=secret,id=ca_bundle \
    if ! command -v airflow >/dev/null; then \
        if [ -s /run/secrets/ca_bundle ]; then export SSL_CERT_FILE=/run/secrets/ca_bundle; fi \
        && export UV_CACHE_DIR=/root/.cache/uv UV_LINK_MODE=copy \
        && uv venv -q --python /usr/bin/python3 /home/airflow/.local \
        && uv pip install -q --python /home/airflow/.local ${PYPI_INDEX_URL:+--default-index "$PYPI_INDEX_URL"} \
            --compile-bytecode --require-hashes -r /tmp/airflow.lock; \
    fi

RUN --mount=type=bind,from=uv,source=/uv/bin/uv,target=/usr/local/bin/uv \
    --mount=type=bind,source=stock.lock,target=/tmp/stock.lock \
    --mount=type=bind,source=leave_out_tests.sh,target=/tmp/leave_out_tests.sh \
    --mount=type=cache,target=/root/.cache/uv --mount=type=secret,id=ca_bundle \
    if [ ! -e /entrypoint ]; then \
        if [ -s /run/secrets/ca_bundle ]; then export SSL_CERT_FILE=/run/secrets/ca_bundle; fi \
        && export UV_CACHE_DIR=/root/.cache/uv UV_LINK_MODE=copy \
        && uv pip install -q --python /home/airflow/.local ${PYPI_INDEX_URL:+--default-index "$PYPI_INDEX_URL"} \
            --compile-bytecode --require-hashes -r /tmp/stock.lock \
        && sh /tmp/leave_out_tests.sh /home/airflow/.local; \
    fi

# Before the last layer, because a Python package may need them to be built.
RUN --mount=type=bind,from=sources,source=/sources/packages.txt,target=/tmp/packages.txt \
    if [ -s /tmp/packages.txt ]; then \
        export DEBIAN_FRONTEND=noninteractive \
        && apt-get -qq update \
        && xargs -a /tmp/packages.txt apt-get -qq install -y --no-install-recommends >/dev/null \
        && apt-get clean && rm -rf /var/lib/apt/lists/*; \
    fi

# Local wheels are relative to the working directory.
WORKDIR /tmp
RUN --mount=type=bind,from=uv,source=/uv/bin/uv,target=/usr/local/bin/uv \
    --mount=type=bind,source=airflow.lock,target=/tmp/airflow.lock \
    --mount=type=bind,from=sources,source=/sources/requirements.txt,target=/tmp/requirements.txt \
    --mount=type=bind,from=sources,source=/sources/wheels,target=/tmp/wheels \
    --mount=type=bind,source=requirements.lock,target=/tmp/requirements.lock \
    --mount=type=bind,source=leave_out_tests.sh,target=/tmp/leave_out_tests.sh \
    --mount=type=cache,target=/root/.cache/uv --mount=type=secret,id=ca_bundle \
    if [ -s /run/secrets/ca_bundle ]; then export SSL_CERT_FILE=/run/secrets/ca_bundle; fi \
    && export UV_CACHE_DIR=/root/.cache/uv UV_LINK_MODE=copy \
    && python="$(dirname "$(command -v airflow)")/python" \
    && if [ -e /entrypoint ]; then \
        uv pip freeze -q --python "$python" >/tmp/installed.txt \
        && uv pip install -q --python "$python" ${PYPI_INDEX_URL:+--default-index "$PYPI_INDEX_URL"} \
            --compile-bytecode -c /tmp/installed.txt -r /tmp/requirements.txt \
        && rm /tmp/installed.txt; \
    else \
        uv pip sync -q --python "$python" ${PYPI_INDEX_URL:+--default-index "$PYPI_INDEX_URL"} \
            --compile-bytecode --require-hashes /tmp/airflow.lock /tmp/requirements.lock; \
    fi && sh /tmp/leave_out_tests.sh /home/airflow/.local

USER 50000:0
WORKDIR /opt/airflow
ENTRYPOINT ["dumb-init", "--", "airflow-entrypoint"]
CMD ["airflow", "version"]
