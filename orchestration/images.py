"""The images the stack stands on: pulled where a registry answers, made here where none does."""

from collections.abc import Iterable
from typing import Any

from orchestration import StackError, shell
from orchestration.settings import Settings

REGISTRY_SECONDS = 8
# What install/base can stand in for, by the image's name and major version.
STAND_INS = {"postgres": "postgres:16", "redis": "redis:7"}


def client() -> Any:
    """The docker SDK's client.

    Raises StackError when no engine answers.
    """
    import docker

    try:
        return docker.from_env(timeout=60)
    except docker.errors.DockerException as error:
        raise StackError(
            f"no Docker engine answers ({_reason(error)}): {_way_out(error)}"
        ) from None


def unreachable() -> str:
    """Why no Docker engine answers and what to do, or blank when one does."""
    try:
        client().version()
    except StackError as error:
        return str(error)
    return ""


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
        argv = ("docker", "compose", "-f", str(file), "build", *wanted)
        shell.echo(shell.Command(argv, env=environment))


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


def _reason(error: Exception) -> str:
    # The SDK wraps the system's reason in two others.
    for reason in ("Permission denied", "No such file or directory", "Connection refused"):
        if reason in str(error):
            return reason.lower()
    return str(error)


def _way_out(error: Exception) -> str:
    if "Permission denied" in str(error):
        return "sudo usermod -aG docker $USER, log in again, then run the same command"
    return "start it, or type ./install/1st_run_install.sh --with-docker"
