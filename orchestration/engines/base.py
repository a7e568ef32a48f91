"""Protocols that both engines implement, in Compose's terms."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Protocol

from orchestration.errors import Problem, UsageError
from orchestration.host.resources import Host
from orchestration.process import runner
from orchestration.settings.model import Settings

INIT_JOBS = ("airflow-init", "mlflow-migrate")
# Images that are built here. The standalone engine builds a virtual environment for each.
IMAGES = ("airflow", "mlflow", "status")
# The service, and its image, that serves the web pages with TLS. Only Docker has it.
PROXY = "tls"
# States of a service that does not run and is not about to.
STOPPED = ("absent", "created", "exited", "dead")
# How long the init jobs wait while PostgreSQL recovers from a crash (`wait_for_server`).
RECOVERY_SECONDS = 600
# A service that was restarted this often may exit again at any moment, unless it has run this long.
MANY_RESTARTS, SETTLED = 3, timedelta(seconds=40)


def image_of(service: str) -> str:
    """Return the image that a service runs from, or "" if it is not built here."""
    name = service.removesuffix("-migrate").partition("-")[0]
    return name if name in (*IMAGES, PROXY) else ""


@dataclass(frozen=True)
class Service:
    """A service as its engine sees it.

    `state` is Compose's word: running, exited, restarting … `health` is the result of the
    container's health check: healthy, unhealthy, starting, or blank if it has none. With
    `out_of_memory` the kernel killed it the last time, if the engine knows.
    """

    name: str
    state: str
    health: str = ""
    since: datetime | None = None
    restarts: int = 0
    exit_code: int = 0
    out_of_memory: bool = False

    @property
    def restarts_repeatedly(self) -> bool:
        """Return whether its engine restarted it often, the last time just now."""
        if self.restarts < MANY_RESTARTS or self.since is None:
            return False
        return datetime.now(UTC) - self.since < SETTLED

    @property
    def is_init_job(self) -> bool:
        """Return whether it runs once; its success is exit code 0."""
        return self.name in INIT_JOBS


@dataclass(frozen=True)
class Build:
    """An image or environment of this clone.

    `bytes` counts only what it shares with no other image. `prune` removes it if not `needed`.
    """

    name: str
    bytes: int
    needed: bool


def runtime_module(name: str) -> tuple[str, ...]:
    """Return the command that runs a module of `stack_runtime` where services run.

    With -P no file in the working directory or next to the module shadows a package.
    """
    return ("python", "-P", "-m", f"stack_runtime.{name}")


class Runtime(Protocol):
    """Start, stop and observe the services. Every engine implements all of it."""

    name: str

    def problems(self) -> list[Problem]:
        """Return why this engine cannot work here."""

    def host(self) -> Host:
        """Return facts about the machine it runs on, for preflight. May take seconds."""

    def surviving_data(self) -> list[str]:
        """Return the names of this clone's existing state (volumes, data folders)."""

    def services(self) -> Iterator[str]:
        """Return the names of all services."""

    def up(self, services: Sequence[str] = ()) -> None:
        """Start all services and return once the init jobs have succeeded.

        With `services`, start only these and what they depend on.
        """

    def down(self, *, volumes: bool, quietly: bool = False) -> None:
        """Stop and remove all services; with `volumes` all their data too.

        Shows progress, unless `quietly`.
        """

    def restart(self, services: Sequence[str]) -> None:
        """Stop and start services without recreating them."""

    def stop(self, services: Sequence[str]) -> None:
        """Stop services, each with its own grace period, until the next `up`."""

    def replace(self, service: str) -> None:
        """Recreate one service from the active image, or run an init job until it exits.

        Running tasks finish first, however long they take.
        """

    def finish_tasks(self) -> None:
        """Stop scheduling tasks and return once the running ones have finished.

        The scheduler and the worker then stay stopped until the next `up`.
        """

    def run(self, service: str, argv: Sequence[str]) -> int:
        """Run a command in a service's environment on the user's terminal; return its exit code."""

    def command(self, service: str, argv: Sequence[str], *, fresh: bool = False) -> runner.Command:
        """Return the command that runs `argv` in a service's environment.

        With `fresh` it uses the current settings, not those the service was started with.
        """

    def ps(self) -> list[Service]:
        """Return every service of the stack, also those that are not running."""

    def memory(self) -> dict[str, int]:
        """Return the bytes of memory that each running service uses."""

    def logs(self, services: Sequence[str], *, tail: int, since: str, follow: bool) -> int:
        """Print logs to the terminal and return the exit code of the command used."""

    def tail(self, service: str, lines: int, since: datetime | None = None) -> str:
        """Return the last log lines of a service, limited to those after `since` if given."""

    def environment(self, service: str) -> Mapping[str, str]:
        """Return the variables a service was started with, or nothing if that is unknown."""

    def intended_environment(self, service: str) -> Mapping[str, str]:
        """Return the part of `environment` that the current settings and files determine."""


class Builder(Protocol):
    """Build the images or virtual environments that services run from."""

    def images(self) -> tuple[str, ...]:
        """Return the names of the images that these settings need."""

    def is_built(self) -> bool:
        """Return whether all images or environments exist."""

    def build(self, images: Collection[str] = ()) -> None:
        """Build images or environments next to those in use, showing progress."""

    def package_errors(self, packages: Collection[str]) -> str:
        """Import Python packages with the newest build; return the errors, one per line."""

    def import_errors(self) -> str:
        """Import every DAG with the newest build; return the errors, one per line."""

    def activate(self, images: Collection[str] = ()) -> None:
        """Use the newest builds from now on. Running services keep the ones they run from."""

    def outdated(self, services: Collection[str]) -> list[str]:
        """Return those of these services that do not run from the active builds."""

    def prune(self) -> None:
        """Remove builds that are inactive and that no service runs from."""

    def builds(self) -> list[Build]:
        """Return the existing builds. May take seconds."""


class Sandbox(Protocol):
    """Let another project run from this project's builds, as a restore drill does."""

    def create_sandbox(self, other: Settings) -> "Engine":
        """Return an engine for `other` that runs from this project's builds."""

    def remove_sandbox(self, other: Settings) -> None:
        """Undo `create_sandbox` after that project is down."""


class Engine(Runtime, Builder, Sandbox, Protocol):
    """All three protocols; each engine is one class."""


def check_service(engine: Engine, name: str, allowed: Collection[str]) -> None:
    """Raise UsageError unless `name` is one of the `allowed` services."""
    if name in allowed:
        return
    why = "is not a service"
    if name in engine.services():
        why = "runs once, as part of inv up" if name in INIT_JOBS else "is not built here"
    raise UsageError(f"{name} {why}.", fix=f"Use one of: {', '.join(allowed)}")
