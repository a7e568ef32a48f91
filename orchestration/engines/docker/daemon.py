"""Query the Docker engine: whether it is usable, and facts about its machine."""

import grp
import os
import pwd
import re
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from orchestration.errors import Problem, StackError
from orchestration.host.clocks import seconds_ahead
from orchestration.host.minimums import GIB, OLDEST_ENGINE, PATIENCE_SECONDS

# An engine under load answers slowly. A shorter timeout would make `auto` choose the other one.
ENGINE_SECONDS = 10
ROOTLESS = "name=rootless"
NEEDED = "The stack needs Docker Engine run by root, whose containers keep their user ids."
OTHER_ENGINE = (
    "Connect to Docker Engine (how: docs/troubleshooting.md#engine-unsupported), or set "
    "STACK_ENGINE=standalone in .env. Then run: inv install"
)


def client(timeout: float = 60) -> Any:
    """Return the docker SDK's client; `timeout` is in seconds.

    Raises StackError if no engine answers.
    """
    import docker

    try:
        return docker.from_env(timeout=timeout)
    except docker.errors.DockerException as error:
        raise StackError(_no_answer(error)) from None


def engine_problem() -> Problem | None:
    """Return a problem if no Docker engine answers or one that the stack cannot use, else None."""
    import docker
    import requests

    try:
        engine = client(ENGINE_SECONDS)
        version = engine.version()
        number = version.get("Version", "")
        if other := _other_engine(version) or _rootless(engine.info(), number):
            return Problem("engine-unsupported", other, OTHER_ENGINE, "engine")
    except StackError as error:
        return error.problems[0]
    except (docker.errors.DockerException, requests.RequestException) as error:
        return _no_answer(error)
    if is_older(number, OLDEST_ENGINE):
        cause = f"Docker Engine {number} is older than {'.'.join(map(str, OLDEST_ENGINE))}."
        fix = "Update its package, for example: sudo apt-get install docker.io"
        return Problem("engine-too-old", cause, fix, "engine")
    return None


def _other_engine(version: Mapping[str, Any]) -> str:
    """Return what answers instead of Docker on its socket, or "" if Docker does."""
    for part in version.get("Components") or ():
        if "podman" in part.get("Name", "").lower():
            return f"Podman {part.get('Version', '')} answers on Docker's socket. {NEEDED}"
    return ""


def _rootless(docker_info: Mapping[str, Any], number: str) -> str:
    if ROOTLESS not in (docker_info.get("SecurityOptions") or ()):
        return ""
    return f"Docker Engine {number} in rootless mode answers. {NEEDED}"


def is_older(version: str, oldest: tuple[int, ...]) -> bool:
    """Return whether a version is older; a development build without a number counts as new."""
    match = re.match(r"v?(\d+)\.(\d+)", version)
    return match is not None and tuple(map(int, match.groups())) < oldest


def info() -> dict[str, Any]:
    """Return `docker info`, or an empty dict if the engine does not answer in time."""
    import docker
    import requests

    try:
        answer: dict[str, Any] = client(PATIENCE_SECONDS).info()
    except (StackError, docker.errors.DockerException, requests.RequestException):
        return {}
    return answer


def machine_facts(docker_info: Mapping[str, Any]) -> dict[str, Any]:
    """Return memory, CPUs and clock from `docker info` as keyword arguments of Host."""
    facts: dict[str, Any] = {"cpus": docker_info.get("NCPU") or None}
    if docker_info.get("MemTotal"):
        facts["memory_gib"] = docker_info["MemTotal"] / GIB
    if docker_info.get("SystemTime"):
        moment = datetime.fromisoformat(docker_info["SystemTime"])
        facts["clock_ahead"] = seconds_ahead(moment)
    return facts


def data_root(docker_info: Mapping[str, Any]) -> list[Path]:
    """Return the folder of images and volumes, or nothing if it is not on this machine."""
    folder = docker_info.get("DockerRootDir", "")
    return [Path(folder)] if os.path.exists(folder) else []


def same_uids(docker_info: Mapping[str, Any]) -> bool:
    """Return whether user ids are the same in containers and in the folders they mount."""
    options = " ".join(docker_info.get("SecurityOptions") or ())
    remapped = ROOTLESS in options or "name=userns" in options
    return bool(data_root(docker_info)) and not remapped


def needs_login(group: str) -> bool:
    """Return whether this user was added to a group after this session started."""
    try:
        entry, user = grp.getgrnam(group), pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return False
    return user in entry.gr_mem and entry.gr_gid not in os.getgroups()


def _no_answer(error: Exception) -> Problem:
    cause = f"No Docker engine answers ({_reason(error)})."
    return Problem("engine-unreachable", cause, _fix(error), "engine")


def _reason(error: Exception) -> str:
    # The SDK wraps the system's error message in two others.
    for reason in (
        "Permission denied", "No such file or directory", "Connection refused", "Read timed out",
    ):  # fmt: skip
        if reason in str(error):
            return reason.lower()
    return str(error)


def _fix(error: Exception) -> str:
    if "Permission denied" in str(error):
        if needs_login("docker"):
            return "You joined the docker group after login. Log in again and repeat the command."
        return "Run: sudo usermod -aG docker $USER. Log in again and repeat the command."
    if "Read timed out" in str(error):
        return "Restart it: sudo systemctl restart docker (Docker Desktop: quit and start it)"
    return "Start it, or install it: ./install/1st_run_install.sh --with-docker"
