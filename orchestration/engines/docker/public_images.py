"""The images the stack stands on: pulled where a registry answers, made here where none does."""

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
# What install/base can stand in for, by the image's name and major version.
STAND_INS = {"postgres": "postgres:16", "redis": "redis:7"}
PUBLIC = ("DEBIAN_IMAGE", "POSTGRES_IMAGE", "REDIS_IMAGE", "AIRFLOW_BASE_IMAGE")
# BuildKit prints a step's command with the values of its arguments, PYPI_INDEX_URL among them.
CREDENTIALS = re.compile(r"(?<=://)[^\s/]*@")
# After a failure BuildKit repeats the output of the failed step, 100 lines at most.
FAILED_STEP = re.compile(r"^ > \[.*?\n(.*?)^------$", re.MULTILINE | re.DOTALL)
KEPT_LINES = 200


def base_problem(sdk: Any, settings: Settings) -> Problem | None:
    """Return why this user can neither pull nor build the base image, or None."""
    base = settings["DEBIAN_IMAGE"]
    by_digest = "@" in base
    if (os.getuid() == 0 and not by_digest) or not absent(sdk, [base]) or _offered(base):
        return None
    if by_digest:
        return _only_pulled([base], settings)
    cause = f"No registry provides {base}, and building it here needs root."
    return _not_provided(cause, f"sudo install/base/debian.sh {base}")


def _offered(name: str) -> bool:
    import docker
    import requests

    try:
        client(PATIENCE_SECONDS).images.get_registry_data(name)
    except (StackError, docker.errors.DockerException, requests.RequestException):
        return False
    return True


def absent(sdk: Any, names: Iterable[str]) -> list[str]:
    """Those of the images that are not on this machine."""
    import docker

    missing = []
    for name in names:
        try:
            sdk.images.get(name)
        except docker.errors.ImageNotFound:
            missing.append(name)
    return missing


def provide(sdk: Any, settings: Settings) -> None:
    """Have every public image of the settings on this machine: pull it, else make a stand-in.

    Raises StackError when neither can be done.
    """
    missing = absent(sdk, dict.fromkeys(settings[name] for name in PUBLIC))
    refused = [name for name in missing if not _pulled(sdk, name)]
    if not refused:
        return
    if by_digest := [name for name in refused if "@" in name]:
        raise StackError(_only_pulled(by_digest, settings))
    print(f"No registry provides {', '.join(refused)}. Building from Debian and PyPI.", flush=True)
    debian, airflow = settings["DEBIAN_IMAGE"], settings["AIRFLOW_BASE_IMAGE"]
    if debian in refused:
        script = settings.root / "install" / "base" / "debian.sh"
        runner.attach(
            runner.Command(("sh", str(script), debian), env=settings.environment),
            check=True,
            echo=True,
        )
    if airflow in refused and airflow != debian:
        fix = f"Set AIRFLOW_BASE_IMAGE={debian} in .env, then run: inv install"
        raise StackError(_not_provided(f"No registry provides {airflow}.", fix))
    _build_stand_ins(settings, refused)


def _not_provided(cause: str, fix: str) -> Problem:
    return Problem("registry-unreachable", cause, fix, "machine")


def _only_pulled(names: Iterable[str], settings: Settings) -> Problem:
    pinned = [f"{name}={settings[name]}" for name in PUBLIC if settings[name] in names]
    cause = f"No registry provides {' '.join(pinned)}, and an image built here has another digest."
    return _not_provided(cause, "Remove @sha256:... in .env, then run: inv install")


def build(command: runner.Command) -> None:
    """Run a `docker compose --progress=plain build` and print its output, without passwords.

    Raises StackError with the last lines of the step that failed.
    """
    lines: deque[str] = deque(maxlen=KEPT_LINES)
    encoding = sys.stdout.encoding or "utf-8"

    def show(line: str) -> None:
        lines.append(CREDENTIALS.sub("***@", line))
        # A terminal that is not UTF-8 cannot show the arrows that uv prints.
        print(lines[-1].encode(encoding, "replace").decode(encoding), flush=True)

    if code := runner.run(command, check=False, on_line=show).code:
        text = "\n".join(lines)
        step = FAILED_STEP.search(text)
        reason = runner.tail(step[1] if step else "") or runner.tail(text)
        raise StackError(f"{command}\nended with {code}:\n{reason}")


def _build_stand_ins(settings: Settings, refused: list[str]) -> None:
    wanted = [name for name in STAND_INS if settings[f"{name.upper()}_IMAGE"] in refused]
    for name in wanted:
        setting = f"{name.upper()}_IMAGE"
        if not settings[setting].rsplit("/", 1)[-1].startswith(STAND_INS[name]):
            cause = (
                f"No registry provides {settings[setting]}. Only {STAND_INS[name]} can be built."
            )
            raise StackError(_not_provided(cause, f"Set {setting} in .env, then run: inv install"))
    if wanted:
        file = settings.root / "install" / "base" / "compose.yaml"
        environment = {**settings.compose_environment(), "DOCKER_BUILDKIT": "1"}
        # Its own project name: the clone's would make these two part of the stack.
        environment.pop("COMPOSE_PROJECT_NAME")
        argv = ("docker", "compose", "--progress=plain", "-f", str(file), "build", *wanted)
        build(runner.Command(argv, env=environment))


def _pulled(sdk: Any, name: str) -> bool:
    # Asked first, with a short patience: a pull against a silent network hangs for minutes.
    import docker
    import requests

    quick = docker.from_env(timeout=REGISTRY_SECONDS)
    try:
        quick.images.get_registry_data(name)
    except (docker.errors.APIError, requests.RequestException):
        return False
    runner.attach(runner.Command(("docker", "pull", name)), check=True, echo=True)
    return True
