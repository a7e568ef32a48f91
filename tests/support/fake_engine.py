"""An engine without containers or processes."""

import os
import sys
import threading
from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from orchestration.engines.base import IMAGES, Build, Engine, Service
from orchestration.errors import Problem
from orchestration.host.resources import Host
from orchestration.process.runner import Command
from orchestration.settings.model import Settings

LONG_RUNNING = ("postgres", "redis", "airflow-scheduler", "airflow-worker", "mlflow", "status")
FAKE_POSTGRES = str(Path(__file__).with_name("fake_postgres.py"))


class FakeEngine:
    """Notes its calls in `asked`; what it answers and how it fails are attributes."""

    name = "docker"

    def __init__(self) -> None:
        self.asked: list[Any] = []
        self.reasons: list[Problem] = []
        self.volumes: list[str] = []
        self.stands_on = Host()
        self.listed = [Service(name, "running", "healthy") for name in LONG_RUNNING]
        self.ps_fails: Exception | None = None
        self.held: dict[str, int] = {}
        self.memory_fails: Exception | None = None
        # Log lines by service, and since when they were read.
        self.said: dict[str, str] = {}
        self.heard_since: dict[str, datetime | None] = {}
        self.exit_code = 0

        self.built, self.errors = True, ""
        self.build_fails: Exception | None = None
        self.replace_fails: dict[str, Exception] = {}
        self.prune_fails: Exception | None = None
        self.made: list[Build] = []
        self.start_fails: Exception | None = None
        self.start_waits: threading.Event | None = None
        self.start_ended = False
        self.restart_fails: Exception | None = None

        # The environment by service: what it runs with, what it should, what commands get.
        self.held_by: dict[str, Mapping[str, str]] = {}
        self.meant_for: dict[str, Mapping[str, str]] = {}
        self.environments: dict[str, Mapping[str, str]] = {}
        # The folder of fake_postgres.py, and the engine that `create_sandbox` answers with.
        self.databases = ""
        self.lent: Engine | None = None

    def problems(self) -> list[Problem]:
        return list(self.reasons)

    def host(self) -> Host:
        return self.stands_on

    def surviving_data(self) -> list[str]:
        return list(self.volumes)

    def images(self) -> tuple[str, ...]:
        return IMAGES

    def is_built(self) -> bool:
        return self.built

    def build(self, images: Collection[str] = IMAGES) -> None:
        self._note_images("build", images)
        if self.build_fails:
            raise self.build_fails

    def import_errors(self) -> str:
        self.asked.append("import_errors")
        return self.errors

    def activate(self, images: Collection[str] = IMAGES) -> None:
        self._note_images("activate", images)
        self.built = True

    def _note_images(self, verb: str, images: Collection[str]) -> None:
        self.asked.append(verb if tuple(images) == IMAGES else f"{verb} {' '.join(images)}")

    def prune(self) -> None:
        self.asked.append("prune")
        if self.prune_fails:
            raise self.prune_fails

    def builds(self) -> list[Build]:
        return list(self.made)

    def up(self, services: Sequence[str] = ()) -> None:
        self.asked.append(" ".join(("up", *services)))
        if self.start_waits:
            self.start_waits.wait(0.5)
        self.start_ended = True
        if self.start_fails:
            raise self.start_fails

    def replace(self, service: str) -> None:
        self.asked.append(f"replace {service}")
        if service in self.replace_fails:
            raise self.replace_fails[service]

    def restart(self, services: Sequence[str]) -> None:
        self.asked.append(f"restart {' '.join(services)}")
        if self.restart_fails:
            raise self.restart_fails

    def stop(self, services: Sequence[str]) -> None:
        self.asked.append(f"stop {' '.join(services)}")

    def finish_tasks(self) -> None:
        self.asked.append("finish_tasks")

    def run(self, service: str, argv: Sequence[str]) -> int:
        self.asked.append(("run", service, list(argv)))
        return self.exit_code

    def command(self, service: str, argv: Sequence[str], *, anew: bool = False) -> Command:
        """Return one of PostgreSQL's tools on the folder `databases`, anything else as it is."""
        argv = tuple(argv)
        if service == "postgres":
            argv = (sys.executable, FAKE_POSTGRES, self.databases, *argv[4:])
        return Command(argv, env={**os.environ, **self.environments.get(service, {})})

    def create_sandbox(self, other: Settings) -> Engine:
        self.asked.append(f"create_sandbox {other.project}")
        return self.lent or self

    def remove_sandbox(self, other: Settings) -> None:
        self.asked.append(f"remove_sandbox {other.project}")

    def down(self, *, volumes: bool, quietly: bool = False) -> None:
        self.asked.append(f"down volumes={volumes}")

    def ps(self) -> list[Service]:
        if self.ps_fails:
            raise self.ps_fails
        return list(self.listed)

    def memory(self) -> dict[str, int]:
        if self.memory_fails:
            raise self.memory_fails
        return dict(self.held)

    def logs(self, services: Sequence[str], *, tail: int, since: str, follow: bool) -> int:
        self.asked.append(("logs", list(services), tail, since, follow))
        return self.exit_code

    def tail(self, service: str, lines: int, since: datetime | None = None) -> str:
        self.heard_since[service] = since
        return "\n".join(self.said.get(service, "").splitlines()[-lines:])

    def environment(self, service: str) -> Mapping[str, str]:
        return dict(self.held_by.get(service, {}))

    def intended(self, service: str) -> Mapping[str, str]:
        return dict(self.meant_for.get(service, {}))

    def services(self) -> Iterator[str]:
        return iter([service.name for service in self.listed])
