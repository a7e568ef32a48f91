# Redis from Debian with the uid and data folder of the official image, for hosts that reach no
# container registry.
ARG DEBIAN_IMAGE=debian:bookworm-slim
FROM ${DEBIAN_IMAGE}
RUN groupadd -r -g 999 redis && useradd -r -g redis -u 999 redis \
    && apt-get -qq update && apt-get -qq install -y --no-install-recommends redis-server redis-tools >/dev/null \
    && apt-get clean && rm -rf /var/lib/apt/lists/* \
    && install -d -o redis -g redis /data
VOLUME /data
WORKDIR /data
USER redis
EXPOSE 6379
CMD ["redis-server"]
