# The packages that install/1st_run_install.sh needs, and a user with sudo rights.
FROM debian:bookworm-slim
RUN apt-get -qq update \
    && apt-get -qq install -y --no-install-recommends \
        ca-certificates curl git openssh-client procps python3 python3-venv sudo >/dev/null \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --create-home --shell /bin/bash dev \
    && echo 'dev ALL=(ALL) NOPASSWD: ALL' >/etc/sudoers.d/dev
ENV LANG=C.UTF-8
