"""The images the stack stands on: pulled where a registry answers, made here where none does."""

import grp
import os
import pwd
import re
from collections.abc import Iterable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from orchestration import StackError, shell
from orchestration.build_output import Stages
from orchestration.preflight import GIB, OLDEST_ENGINE, PATIENCE_SECONDS, ahead
from orchestration.progress import Progress
from orchestration.settings import Settings

# An engine under load is slow to answer; taken for dead, `auto` would choose the other one.
ENGINE_SECONDS = 10
REGISTRY_SECONDS = 8
# What install/base can stand in for, by the image's name and major version.
STAND_INS = {"postgres": "postgres:16", "redis": "redis:7"}


def client(timeout: float = 60) -> Any:
    """The docker SDK's client, with that patience in seconds.

    Raises StackError when no engine answers.
    """
    import docker

    try:
        return docker.from_env(timeout=timeout)
    except docker.errors.DockerException as error:
        raise StackError(_silence(error)) from None


def unreachable() -> str:
    """Why no Docker engine of use answers and what to do, or blank when one does."""
    import docker
    import requests

    try:
        version = client(ENGINE_SECONDS).version().get("Version", "")
    except StackError as error:
        return str(error)
    except (docker.errors.DockerException, requests.RequestException) as error:
        return _silence(error)
    if older(version, OLDEST_ENGINE):
        return (
            f"Docker Engine {version} is older than {'.'.join(map(str, OLDEST_ENGINE))}: update "
            "the package it came from, as in sudo apt-get install docker.io"
        )
    return ""


def older(version: str, oldest: tuple[int, ...]) -> bool:
    """Whether a version is older; a development build names no number and is taken for new."""
    found = re.match(r"v?(\d+)\.(\d+)", version)
    return bool(found) and tuple(map(int, found.groups())) < oldest


def info() -> dict[str, Any]:
    """What `docker info` tells; empty where the engine does not tell soon."""
    import docker
    import requests

    try:
        return client(PATIENCE_SECONDS).info()
    except (StackError, docker.errors.DockerException, requests.RequestException):
        return {}


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


def base_problem(sdk: Any, settings: Settings) -> str:
    """Why the base image can neither be pulled nor made by this user, or blank."""
    base = settings["DEBIAN_IMAGE"]
    if os.getuid() == 0 or not absent(sdk, [base]) or _offered(base):
        return ""
    return (
        f"no registry gives {base}, and making it here needs root: "
        f"sudo install/base/debian.sh {base}"
    )


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
    roles = {
        name: settings[name]
        for name in ("DEBIAN_IMAGE", "POSTGRES_IMAGE", "REDIS_IMAGE", "AIRFLOW_BASE_IMAGE")
    }
    missing = absent(sdk, dict.fromkeys(roles.values()))
    refused = [name for name in missing if not _pulled(sdk, name)]
    if not refused:
        return
    print(f"no registry gives {', '.join(refused)}: made from Debian and PyPI instead", flush=True)
    if settings["DEBIAN_IMAGE"] in refused:
        script = settings.root / "install" / "base" / "debian.sh"
        shell.echo(
            shell.Command(("sh", str(script), settings["DEBIAN_IMAGE"]), env=settings.environment)
        )
    if (
        settings["AIRFLOW_BASE_IMAGE"] in refused
        and settings["AIRFLOW_BASE_IMAGE"] != settings["DEBIAN_IMAGE"]
    ):
        raise StackError(
            f"no registry gives {settings['AIRFLOW_BASE_IMAGE']}: "
            f"set AIRFLOW_BASE_IMAGE={settings['DEBIAN_IMAGE']} in .env, then inv install"
        )
    _build_stand_ins(settings, refused)


def build(command: shell.Command, names: Mapping[str, str]) -> None:
    """Run a `docker compose --progress=plain build`, with a row for each image as it comes about.

    `names` gives the image of each of its services a name. Raises StackError with the last lines
    of the step that failed.
    """
    stages = Stages(names)
    with Progress() as progress:

        def told(line: str) -> None:
            stages.feed(line)
            progress.show(stages.lines())

        code = shell.follow(command, told)
        if not code:
            stages.finish()
        progress.show(stages.lines())
    if code:
        raise StackError("\n".join([f"{command}\nended with {code}:", *stages.failure()]))


def _build_stand_ins(settings: Settings, refused: list[str]) -> None:
    wanted = [name for name in STAND_INS if settings[f"{name.upper()}_IMAGE"] in refused]
    for name in wanted:
        setting = f"{name.upper()}_IMAGE"
        if not settings[setting].rsplit("/", 1)[-1].startswith(STAND_INS[name]):
            raise StackError(
                f"no registry gives {settings[setting]}, and only {STAND_INS[name]} can be made "
                f"here: set {setting} in .env, then inv install"
            )
    if wanted:
        file = settings.root / "install" / "base" / "compose.yaml"
        environment = {**settings.compose_environment(), "DOCKER_BUILDKIT": "1"}
        # Its own project name: the clone's would make these two part of the stack.
        environment.pop("COMPOSE_PROJECT_NAME")
        argv = ("docker", "compose", "--progress=plain", "-f", str(file), "build", *wanted)
        build(shell.Command(argv, env=environment), {name: f"{name} image" for name in wanted})


def _pulled(sdk: Any, name: str) -> bool:
    # Asked first, with a short patience: a pull against a silent network hangs for minutes.
    import docker
    import requests

    quick = docker.from_env(timeout=REGISTRY_SECONDS)
    try:
        quick.images.get_registry_data(name)
    except (docker.errors.APIError, requests.RequestException):
        return False
    shell.echo(shell.Command(("docker", "pull", name)))
    return True


def joined(group: str) -> bool:
    """Whether this user was added to a group after this session began."""
    try:
        entry, user = grp.getgrnam(group), pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return False
    return user in entry.gr_mem and entry.gr_gid not in os.getgroups()


def _silence(error: Exception) -> str:
    return f"no Docker engine answers ({_reason(error)}): {_way_out(error)}"


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
            return "you joined the group docker after this login: log in again, then run it again"
        return "sudo usermod -aG docker $USER, log in again, then run the same command"
    if "Read timed out" in str(error):
        return "restart it, as in sudo systemctl restart docker (Docker Desktop: quit and start it)"
    return "start it, or type ./install/1st_run_install.sh --with-docker"
