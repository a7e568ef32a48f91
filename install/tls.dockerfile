# Debian's nginx as the TLS proxy of the pages; its configuration is mounted. Lua counts wrong
# passwords, because nginx alone cannot reject them before they reach a page.
ARG DEBIAN_IMAGE=debian:bookworm-slim

FROM ${DEBIAN_IMAGE}
RUN apt-get -qq update \
    && apt-get -qq install -y --no-install-recommends nginx libnginx-mod-http-lua openssl dumb-init curl >/dev/null \
    && apt-get clean && rm -rf /var/lib/apt/lists/* /var/www/html /etc/nginx/sites-enabled/default \
    && useradd --uid 50003 --gid 0 --create-home proxy-of-pages
USER 50003:0
WORKDIR /tmp
ENTRYPOINT ["dumb-init", "--"]
CMD ["sh", "/opt/stack/nginx/start.sh"]
