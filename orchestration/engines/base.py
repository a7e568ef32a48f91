"""What an engine can do, in Compose's terms: the protocols that both engines implement."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from orchestration.errors import Problem, StackError
from orchestration.host.resources import Host
from orchestration.process import runner
from orchestration.settings.model import Settings

ONE_SHOTS = ("airflow-init", "mlflow-migrate")
# What is built here: an image each, or an environment without containers.
IMAGES = ("airflow", "mlflow", "status")
# What publishes the pages with TLS, where an engine has one: a service and its image.
PROXY = "tls"


def image_of(service: str) -> str:
    """Which of IMAGES a service runs from; blank for one that is not built here."""
    name = service.removesuffix("-migrate").partition("-")[0]
    return name if name in (*IMAGES, PROXY) else ""


@dataclass(frozen=True)
class Service:
    """A service as its engine sees it.

    `state` is Compose's word (running, exited, restarting …); `health` the verdict of the
    container's own check: healthy, unhealthy, starting, or blank without one; `out_of_memory`: its
    last end was the kernel's doing, where the engine knows.
    """

    name: str
    state: str
    health: str = ""
    since: datetime | None = None
    restarts: int = 0
    exit_code: int = 0
    out_of_memory: bool = False

    @property
    def one_shot(self) -> bool:
        """It runs to its end; its success is exit code 0."""
        return self.name in ONE_SHOTS


@dataclass(frozen=True)
class Build:
    """An image or environment of this clone: the bytes it alone holds, and whether it is needed.

    What is not is what `prune` removes.
    """

    name: str
    bytes: int
    needed: bool


def runtime_module(name: str) -> tuple[str, ...]:
    """Return the command that runs a module of `stack_runtime` where services run.

    With -P nothing in the working directory or next to the module hides a package of that name.
    """
    return ("python", "-P", "-m", f"stack_runtime.{name}")


class Runtime(Protocol):
    """Starts, stops and observes the services. Real in every engine."""

    name: str

    def problems(self) -> list[Problem]:
        """Return why this engine cannot work here."""

    def host(self) -> Host:
        """Return facts about the machine it runs on, for preflight; may take seconds."""

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

        Progress is shown, unless `quietly`.
        """

    def restart(self, services: Sequence[str]) -> None:
        """Stop and start services as they are."""

    def stop(self, services: Sequence[str]) -> None:
        """Stop services, each with its own grace period, until the next `up`."""

    def replace(self, service: str) -> None:
        """Recreate one service from the active image, or run an init job to its end.

        Running tasks finish first, however long they take.
        """

    def finish_tasks(self) -> None:
        """Schedule no more tasks, and return once the running ones have ended.

        The scheduler and the worker then stay stopped until the next `up`.
        """

    def run(self, service: str, argv: Sequence[str]) -> int:
        """Run a command in a service's environment on the user's terminal; return its exit code."""

    def command(self, service: str, argv: Sequence[str], *, anew: bool = False) -> runner.Command:
        """Return the command that runs `argv` in a service's environment.

        With `anew`, it uses the current settings, whatever the service was started with.
        """

    def ps(self) -> list[Service]:
        """Return every service of the stack, also those that are not running."""

    def memory(self) -> dict[str, int]:
        """Return the bytes of memory that each running service uses."""

    def logs(self, services: Sequence[str], *, tail: int, since: str, follow: bool) -> int:
        """Print logs to the terminal; return the exit code of the command that did."""

    def tail(self, service: str, lines: int, since: datetime | None = None) -> str:
        """Return the last log lines of a service, only those from `since` on if it is given."""

    def environment(self, service: str) -> Mapping[str, str]:
        """Return the variables a service was started with; empty if that is unknown."""

    def intended(self, service: str) -> Mapping[str, str]:
        """Return the part of `environment` that the current settings and files decide."""


class Builder(Protocol):
    """Builds what the services run from: images or virtual environments."""

    def images(self) -> tuple[str, ...]:
        """Return the names of what is built here for these settings."""

    def is_built(self) -> bool:
        """Return whether all images or environments exist."""

    def build(self, images: Collection[str] = ()) -> None:
        """Build images or environments next to those in use, showing progress."""

    def import_errors(self) -> str:
        """Import every DAG in what was built last; return the errors, one per line."""

    def activate(self, images: Collection[str] = ()) -> None:
        """Use what was built from now on; running services keep what they run from."""

    def prune(self) -> None:
        """Remove what is inactive and nothing runs from."""

    def builds(self) -> list[Build]:
        """Return what was built and still exists; may take seconds."""


class Sandbox(Protocol):
    """Lends its builds to another project next to this one, as for a restore drill."""

    def create_sandbox(self, other: Settings) -> "Engine":
        """Return an engine for `other` that runs from this project's builds."""

    def remove_sandbox(self, other: Settings) -> None:
        """Undo `create_sandbox`, once that project is down."""


class Engine(Runtime, Builder, Sandbox, Protocol):
    """Everything a stack is run by: one class implements all three."""


def check_service(engine: Engine, name: str, known: Collection[str]) -> None:
    """Raise StackError unless `name` is one of `known`."""
    if name in known:
        return
    why = "is not a service"
    if name in engine.services():
        why = "runs once, as part of inv up" if name in ONE_SHOTS else "is not built here"
    raise StackError(f"{name} {why}.", fix=f"Use one of: {', '.join(known)}")
