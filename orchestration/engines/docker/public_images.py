"""Provide base and third-party images: pull them, or build them if no registry answers."""

import os
import re
import sys
from collections import deque
from collections.abc import Iterable
from typing import Any

from orchestration.engines.docker.daemon import client
from orchestration.errors import Problem, StackError
from orchestration.host.minimums import PATIENCE_SECONDS
from orchestration.process import runner
from orchestration.settings.model import Settings

REGISTRY_SECONDS = 8
# What install/base can build instead: image name and major version by service.
STAND_INS = {"postgres": "postgres:16", "redis": "redis:7"}
IMAGE_SETTINGS = ("DEBIAN_IMAGE", "POSTGRES_IMAGE", "REDIS_IMAGE", "AIRFLOW_BASE_IMAGE")
# BuildKit prints build arguments such as PYPI_INDEX_URL, which may contain a password.
CREDENTIALS = re.compile(r"(?<=://)[^\s/]*@")
# After a failure BuildKit repeats the output of the failed step, 100 lines at most.
FAILED_STEP = re.compile(r"^ > \[.*?\n(.*?)^------$", re.MULTILINE | re.DOTALL)
KEPT_LINES = 200


def base_problem(sdk: Any, settings: Settings) -> Problem | None:
    """Return why this user can neither pull nor build the base image, or None."""
    base = settings["DEBIAN_IMAGE"]
    by_digest = "@" in base
    if (os.getuid() == 0 and not by_digest) or not missing(sdk, [base]) or _is_offered(base):
        return None
    if by_digest:
        return _digest_problem([base], settings)
    cause = f"No registry provides {base}, and building it here needs root."
    return _registry_problem(cause, f"sudo install/base/debian.sh {base}")


def _is_offered(name: str) -> bool:
    import docker
    import requests

    try:
        client(PATIENCE_SECONDS).images.get_registry_data(name)
    except (StackError, docker.errors.DockerException, requests.RequestException):
        return False
    return True


def missing(sdk: Any, names: Iterable[str]) -> list[str]:
    """Return the names of images that do not exist on this machine."""
    import docker

    result = []
    for name in names:
        try:
            sdk.images.get(name)
        except docker.errors.ImageNotFound:
            result.append(name)
    return result


def provide(sdk: Any, settings: Settings) -> None:
    """Pull every missing public image of the settings, or build a stand-in for it.

    Raises StackError if neither is possible.
    """
    names = missing(sdk, dict.fromkeys(settings[name] for name in IMAGE_SETTINGS))
    failed = [name for name in names if not _pull(name)]
    if not failed:
        return
    if by_digest := [name for name in failed if "@" in name]:
        raise StackError(_digest_problem(by_digest, settings))
    print(f"No registry provides {', '.join(failed)}. Building from Debian and PyPI.", flush=True)
    debian, airflow = settings["DEBIAN_IMAGE"], settings["AIRFLOW_BASE_IMAGE"]
    if debian in failed:
        script = settings.root / "install" / "base" / "debian.sh"
        runner.attach(
            runner.Command(("sh", str(script), debian), env=settings.environment),
            check=True,
            echo=True,
        )
    if airflow in failed and airflow != debian:
        fix = f"Set AIRFLOW_BASE_IMAGE={debian} in .env, then run: inv install"
        raise StackError(_registry_problem(f"No registry provides {airflow}.", fix))
    _build_stand_ins(settings, failed)


def _registry_problem(cause: str, fix: str) -> Problem:
    return Problem("registry-unreachable", cause, fix, "machine")


def _digest_problem(names: Iterable[str], settings: Settings) -> Problem:
    pinned = [f"{name}={settings[name]}" for name in IMAGE_SETTINGS if settings[name] in names]
    cause = f"No registry provides {' '.join(pinned)}, and an image built here has another digest."
    return _registry_problem(cause, "Remove @sha256:... in .env, then run: inv install")


def build(command: runner.Command) -> None:
    """Run a `docker compose --progress=plain build` and print its output, without passwords.

    Raises StackError with the last lines of the step that failed.
    """
    lines: deque[str] = deque(maxlen=KEPT_LINES)
    encoding = sys.stdout.encoding or "utf-8"

    def show(line: str) -> None:
        lines.append(CREDENTIALS.sub("***@", line))
        # A terminal without UTF-8 cannot show the arrows that uv prints.
        print(lines[-1].encode(encoding, "replace").decode(encoding), flush=True)

    if code := runner.run(command, check=False, on_line=show).code:
        text = "\n".join(lines)
        step = FAILED_STEP.search(text)
        reason = runner.tail(step[1] if step else "") or runner.tail(text)
        raise StackError(f"{command}\nexited with code {code}:\n{reason}")


def _build_stand_ins(settings: Settings, failed: list[str]) -> None:
    services = [name for name in STAND_INS if settings[f"{name.upper()}_IMAGE"] in failed]
    for name in services:
        setting = f"{name.upper()}_IMAGE"
        image = settings[setting]
        if not image.rsplit("/", 1)[-1].startswith(STAND_INS[name]):
            cause = f"No registry provides {image}. Only {STAND_INS[name]} can be built."
            fix = f"Set {setting} in .env, then run: inv install"
            raise StackError(_registry_problem(cause, fix))
    if services:
        file = settings.root / "install" / "base" / "compose.yaml"
        environment = {**settings.compose_environment(), "DOCKER_BUILDKIT": "1"}
        # Under the clone's project name Compose would treat these images as part of the stack.
        environment.pop("COMPOSE_PROJECT_NAME")
        argv = ("docker", "compose", "--progress=plain", "-f", str(file), "build", *services)
        build(runner.Command(argv, env=environment))


def _pull(name: str) -> bool:
    # Query the registry first, with a short timeout: without network a pull hangs for minutes.
    import docker
    import requests

    quick = docker.from_env(timeout=REGISTRY_SECONDS)
    try:
        quick.images.get_registry_data(name)
    except (docker.errors.APIError, requests.RequestException):
        return False
    runner.attach(runner.Command(("docker", "pull", name)), check=True, echo=True)
    return True
