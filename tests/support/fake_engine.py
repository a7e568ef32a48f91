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
from tests.support.repository import ROOT

LONG_RUNNING = ("postgres", "redis", "airflow-scheduler", "airflow-worker", "mlflow", "status")
STACK_PYTHONPATH = str(ROOT / "orchestration/config")
FAKE_POSTGRES = str(Path(__file__).with_name("fake_postgres.py"))


class FakeEngine:
    """Record calls in `calls`. Attributes set the results and failures of methods."""

    name = "docker"

    def __init__(self) -> None:
        self.calls: list[Any] = []
        self.reasons: list[Problem] = []
        self.volumes: list[str] = []
        self.host_facts = Host()
        self.ps_result = [Service(name, "running", "healthy") for name in LONG_RUNNING]
        self.ps_fails: Exception | None = None
        self.memory_use: dict[str, int] = {}
        self.memory_fails: Exception | None = None
        # Log lines by service, and the `since` argument of the last call of `tail`.
        self.log_text: dict[str, str] = {}
        self.log_since: dict[str, datetime | None] = {}
        self.exit_code = 0

        self.built, self.errors = True, ""
        # The result of `package_errors`, and the services that run from the active builds.
        self.failed_imports, self.current_services = "", set[str]()
        self.build_fails: Exception | None = None
        self.replace_fails: dict[str, Exception] = {}
        self.prune_fails: Exception | None = None
        self.existing_builds: list[Build] = []
        self.start_fails: Exception | None = None
        self.start_waits: threading.Event | None = None
        self.start_finished = False
        self.restart_fails: Exception | None = None

        # Environments by service, for `environment`, `intended_environment` and `command`.
        self.current_environments: dict[str, Mapping[str, str]] = {}
        self.intended_environments: dict[str, Mapping[str, str]] = {}
        self.command_environments: dict[str, Mapping[str, str]] = {}
        # The folder of fake_postgres.py, and the engine that `create_sandbox` returns.
        self.databases = ""
        self.sandbox: Engine | None = None

    def problems(self) -> list[Problem]:
        return list(self.reasons)

    def host(self) -> Host:
        return self.host_facts

    def surviving_data(self) -> list[str]:
        return list(self.volumes)

    def images(self) -> tuple[str, ...]:
        return IMAGES

    def is_built(self) -> bool:
        return self.built

    def build(self, images: Collection[str] = IMAGES) -> None:
        self._record("build", images)
        if self.build_fails:
            raise self.build_fails

    def package_errors(self, packages: Collection[str]) -> str:
        self.calls.append(" ".join(("package_errors", *packages)))
        return self.failed_imports

    def outdated(self, services: Collection[str]) -> list[str]:
        return [name for name in services if name not in self.current_services]

    def import_errors(self) -> str:
        self.calls.append("import_errors")
        return self.errors

    def activate(self, images: Collection[str] = IMAGES) -> None:
        self._record("activate", images)
        self.built = True

    def _record(self, method: str, images: Collection[str]) -> None:
        self.calls.append(method if tuple(images) == IMAGES else f"{method} {' '.join(images)}")

    def prune(self) -> None:
        self.calls.append("prune")
        if self.prune_fails:
            raise self.prune_fails

    def builds(self) -> list[Build]:
        return list(self.existing_builds)

    def up(self, services: Sequence[str] = ()) -> None:
        self.calls.append(" ".join(("up", *services)))
        if self.start_waits:
            self.start_waits.wait(0.5)
        self.start_finished = True
        if self.start_fails:
            raise self.start_fails

    def replace(self, service: str) -> None:
        self.calls.append(f"replace {service}")
        if service in self.replace_fails:
            raise self.replace_fails[service]

    def restart(self, services: Sequence[str]) -> None:
        self.calls.append(f"restart {' '.join(services)}")
        if self.restart_fails:
            raise self.restart_fails

    def stop(self, services: Sequence[str]) -> None:
        self.calls.append(f"stop {' '.join(services)}")

    def finish_tasks(self) -> None:
        self.calls.append("finish_tasks")

    def run(self, service: str, argv: Sequence[str]) -> int:
        self.calls.append(("run", service, list(argv)))
        return self.exit_code

    def command(self, service: str, argv: Sequence[str], *, fresh: bool = False) -> Command:
        """Return `argv`, except that PostgreSQL's tools use the folder `databases`.

        Modules of `stack_runtime` are run by this Python.
        """
        argv = tuple(argv)
        if service == "postgres":
            argv = (sys.executable, FAKE_POSTGRES, self.databases, *argv[4:])
        elif argv[0] == "python":
            argv = (sys.executable, *argv[1:])
        environment = self.command_environments.get(service, {})
        return Command(argv, env={**os.environ, "PYTHONPATH": STACK_PYTHONPATH, **environment})

    def create_sandbox(self, other: Settings) -> Engine:
        self.calls.append(f"create_sandbox {other.project}")
        return self.sandbox or self

    def remove_sandbox(self, other: Settings) -> None:
        self.calls.append(f"remove_sandbox {other.project}")

    def down(self, *, volumes: bool, quietly: bool = False) -> None:
        self.calls.append(f"down volumes={volumes}")

    def ps(self) -> list[Service]:
        if self.ps_fails:
            raise self.ps_fails
        return list(self.ps_result)

    def memory(self) -> dict[str, int]:
        if self.memory_fails:
            raise self.memory_fails
        return dict(self.memory_use)

    def logs(self, services: Sequence[str], *, tail: int, since: str, follow: bool) -> int:
        self.calls.append(("logs", list(services), tail, since, follow))
        return self.exit_code

    def tail(self, service: str, lines: int, since: datetime | None = None) -> str:
        self.log_since[service] = since
        return "\n".join(self.log_text.get(service, "").splitlines()[-lines:])

    def environment(self, service: str) -> Mapping[str, str]:
        return dict(self.current_environments.get(service, {}))

    def intended_environment(self, service: str) -> Mapping[str, str]:
        return dict(self.intended_environments.get(service, {}))

    def services(self) -> Iterator[str]:
        return iter([service.name for service in self.ps_result])
