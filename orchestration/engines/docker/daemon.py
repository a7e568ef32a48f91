"""The Docker engine asked: whether it answers, and what it tells of itself and its machine."""

import grp
import os
import pwd
import re
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from orchestration.errors import Problem, StackError
from orchestration.host.clocks import ahead
from orchestration.host.minimums import GIB, OLDEST_ENGINE, PATIENCE_SECONDS

# An engine under load is slow to answer; taken for dead, `auto` would choose the other one.
ENGINE_SECONDS = 10


def client(timeout: float = 60) -> Any:
    """The docker SDK's client, with that patience in seconds.

    Raises StackError when no engine answers.
    """
    import docker

    try:
        return docker.from_env(timeout=timeout)
    except docker.errors.DockerException as error:
        raise StackError(_silence(error)) from None


def unreachable() -> Problem | None:
    """Return why no Docker engine that is new enough answers, or None."""
    import docker
    import requests

    try:
        version = client(ENGINE_SECONDS).version().get("Version", "")
    except StackError as error:
        return error.problems[0]
    except (docker.errors.DockerException, requests.RequestException) as error:
        return _silence(error)
    if older(version, OLDEST_ENGINE):
        cause = f"Docker Engine {version} is older than {'.'.join(map(str, OLDEST_ENGINE))}."
        fix = "Update the package it came from, as in: sudo apt-get install docker.io"
        return Problem("engine-too-old", cause, fix, "engine")
    return None


def older(version: str, oldest: tuple[int, ...]) -> bool:
    """Whether a version is older; a development build names no number and is taken for new."""
    found = re.match(r"v?(\d+)\.(\d+)", version)
    return found is not None and tuple(map(int, found.groups())) < oldest


def info() -> dict[str, Any]:
    """What `docker info` tells; empty where the engine does not tell soon."""
    import docker
    import requests

    try:
        told: dict[str, Any] = client(PATIENCE_SECONDS).info()
    except (StackError, docker.errors.DockerException, requests.RequestException):
        return {}
    return told


def figures(told: Mapping[str, Any]) -> dict[str, Any]:
    """Memory, processors and clock that `docker info` told, by their names in Host."""
    found: dict[str, Any] = {"cpus": told.get("NCPU") or None}
    if told.get("MemTotal"):
        found["memory_gib"] = told["MemTotal"] / GIB
    if told.get("SystemTime"):
        found["ahead"] = ahead(datetime.fromisoformat(told["SystemTime"]))
    return found


def data_root(told: Mapping[str, Any]) -> list[Path]:
    """Where the engine keeps images and volumes, if that is a folder of this machine."""
    folder = told.get("DockerRootDir", "")
    return [Path(folder)] if os.path.exists(folder) else []


def same_users(told: Mapping[str, Any]) -> bool:
    """Whether a user's number means the same in a container and in the folders it mounts."""
    options = " ".join(told.get("SecurityOptions") or ())
    return bool(data_root(told)) and "name=rootless" not in options and "name=userns" not in options


def joined(group: str) -> bool:
    """Whether this user was added to a group after this session began."""
    try:
        entry, user = grp.getgrnam(group), pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return False
    return user in entry.gr_mem and entry.gr_gid not in os.getgroups()


def _silence(error: Exception) -> Problem:
    cause = f"No Docker engine answers ({_reason(error)})."
    return Problem("engine-unreachable", cause, _way_out(error), "engine")


def _reason(error: Exception) -> str:
    # The SDK wraps the system's reason in two others.
    for reason in (
        "Permission denied", "No such file or directory", "Connection refused", "Read timed out",
    ):  # fmt: skip
        if reason in str(error):
            return reason.lower()
    return str(error)


def _way_out(error: Exception) -> str:
    if "Permission denied" in str(error):
        if joined("docker"):
            return (
                "You joined the group docker after this login: log in again and repeat the command."
            )
        return "Run: sudo usermod -aG docker $USER. Log in again and repeat the command."
    if "Read timed out" in str(error):
        return "Restart it: sudo systemctl restart docker (Docker Desktop: quit and start it)"
    return "Start it, or run: ./install/1st_run_install.sh --with-docker"
