"""What an engine can do, in Compose's words, and the one place that chooses between them."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from orchestration import StackError
from orchestration.settings import Settings

ONE_SHOTS = ("airflow-init", "mlflow-migrate")


@dataclass(frozen=True)
class Service:
    """A service as its engine sees it.

    `state` is Compose's word (running, exited, restarting …); `health` the verdict of the
    container's own check: healthy, unhealthy, starting, or blank without one.
    """

    name: str
    state: str
    health: str = ""
    since: datetime | None = None
    restarts: int = 0
    exit_code: int = 0

    @property
    def one_shot(self) -> bool:
        """It runs to its end; its success is exit code 0."""
        return self.name in ONE_SHOTS


class Engine(Protocol):
    """Real in every engine; a verb that one cannot honour does not belong here."""

    name: str

    def problems(self) -> list[str]:
        """Why this engine cannot work here, each with the next command; empty when it can."""

    def surviving_data(self) -> list[str]:
        """Names of this clone's state that exists already (volumes, data folders)."""

    def is_built(self) -> bool:
        """All images or environments are there."""

    def build(self) -> None:
        """Make images or environments, showing progress."""

    def up(self) -> None:
        """Start every service and return once the one-shots have ended well."""

    def down(self, *, volumes: bool) -> None:
        """Stop and remove all services; with `volumes` all their data too."""

    def ps(self) -> list[Service]:
        """Every service of the stack, also those that do not run."""

    def memory(self) -> dict[str, int]:
        """Bytes each running service holds."""

    def logs(self, services: Sequence[str], *, tail: int, since: str, follow: bool) -> int:
        """Print logs to the terminal; the exit code of the command that did."""

    def tail(self, service: str, lines: int) -> str:
        """The last log lines of one service."""

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
