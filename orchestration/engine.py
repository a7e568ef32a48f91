"""What an engine can do, in Compose's words, and the one place that chooses between them."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from orchestration import StackError, shell
from orchestration.machine import Host
from orchestration.settings import Settings

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

    What is not is what `tidy` removes.
    """

    name: str
    bytes: int
    needed: bool


class Engine(Protocol):
    """Real in every engine; a verb that one cannot honour does not belong here."""

    name: str

    def problems(self) -> list[str]:
        """Why this engine cannot work here, each with the next command; empty when it can."""

    def host(self) -> Host:
        """What it stands on, asked before an install; may take seconds."""

    def surviving_data(self) -> list[str]:
        """Names of this clone's state that exists already (volumes, data folders)."""

    def images(self) -> tuple[str, ...]:
        """What is built here for these settings."""

    def is_built(self) -> bool:
        """All images or environments are there."""

    def build(self, images: Collection[str] = ()) -> None:
        """Make images or environments beside those in use, all by default, showing progress."""

    def import_errors(self) -> str:
        """Import every DAG in what was built last; the errors, a line each, or blank."""

    def adopt(self, images: Collection[str] = ()) -> None:
        """What was built takes the place of what was in use; what runs goes on as it is."""

    def tidy(self) -> None:
        """Remove what was built and not adopted, or replaced, and nothing runs from any more."""

    def builds(self) -> list[Build]:
        """What was built and is still there; may take seconds."""

    def up(self, services: Sequence[str] = ()) -> None:
        """Start every service and return once the one-shots have ended well.

        Or only some, and nothing that they do not need.
        """

    def swap(self, service: str) -> None:
        """Start one service anew from what was adopted, or run a one-shot to its end.

        A task that runs is let end where it is, however long it takes.
        """

    def restart(self, services: Sequence[str]) -> None:
        """Stop and start services as they are."""

    def stop(self, services: Sequence[str]) -> None:
        """Stop services, each with its own time to end, until the next `up`."""

    def finish_tasks(self) -> None:
        """Hand out no more tasks, and return once those that were have ended, whenever that is.

        What hands out and runs tasks is stopped then, until the next `up`.
        """

    def run(self, service: str, argv: Sequence[str]) -> int:
        """A one-off command where a service runs, on the person's terminal; its exit code."""

    def command(self, service: str, argv: Sequence[str], *, anew: bool = False) -> shell.Command:
        """What runs `argv` where a service runs, its streams left to the caller.

        `anew`: with the settings as they are now, whatever it runs with.
        """

    def script(self, name: str) -> str:
        """Where a service finds a file of config/."""

    def lend(self, other: Settings) -> "Engine":
        """The same engine for another project beside this one, which builds nothing of its own."""

    def take_back(self, other: Settings) -> None:
        """Undo `lend`, once that project is down."""

    def down(self, *, volumes: bool, quietly: bool = False) -> None:
        """Stop and remove all services; with `volumes` all their data too.

        Shown as it goes, unless `quietly`.
        """

    def ps(self) -> list[Service]:
        """Every service of the stack, also those that do not run."""

    def memory(self) -> dict[str, int]:
        """Bytes each running service holds."""

    def logs(self, services: Sequence[str], *, tail: int, since: str, follow: bool) -> int:
        """Print logs to the terminal; the exit code of the command that did."""

    def tail(self, service: str, lines: int, since: datetime | None = None) -> str:
        """The last log lines of one service, only those from `since` on if it is given."""

    def environment(self, service: str) -> Mapping[str, str]:
        """What a running service was started with, by name; empty where that cannot be told."""

    def intended(self, service: str) -> Mapping[str, str]:
        """The part of it that settings and files decide, as they would now."""

    def services(self) -> Iterator[str]:
        """The names of all services."""


def engine_for(settings: Settings) -> Engine:
    """The engine of this clone.

    Raises StackError when it was not decided yet.
    """
    if settings.engine == "docker":
        from orchestration.compose import DockerEngine

        return DockerEngine(settings)
    if settings.engine == "standalone":
        from orchestration.standalone import StandaloneEngine

        return StandaloneEngine(settings)
    raise StackError("STACK_ENGINE=auto in .env is not decided yet: inv install")


def check_service(engine: Engine, name: str, known: Collection[str]) -> None:
    """Raises StackError unless `name` is one of `known`, with what it is instead."""
    if name in known:
        return
    if name in engine.services():
        why = "runs once, by inv up" if name in ONE_SHOTS else "is not built here"
        raise StackError(f"{name} {why}; possible: {', '.join(known)}")
    raise StackError(f"there is no service {name}; known: {', '.join(known)}")
