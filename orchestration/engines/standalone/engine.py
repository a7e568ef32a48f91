"""The standalone engine: the same services as plain processes under supervisord."""

import hashlib
import json
import os
import platform
import shutil
from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import datetime
from functools import cached_property
from pathlib import Path

from orchestration.engines.base import (
    IMAGES,
    ONE_SHOTS,
    Build,
    Engine,
    Service,
    image_of,
    runtime_module,
)
from orchestration.engines.standalone import init_jobs, log_files, orphans
from orchestration.engines.standalone.environment import (
    POSTGRES_SYSTEM_USER,
    State,
    services_environment,
)
from orchestration.engines.standalone.supervisor import Supervisord
from orchestration.engines.standalone.virtualenvs import Environments, StartedFrom, python_problem
from orchestration.errors import Problem
from orchestration.host import clocks, permissions
from orchestration.host.resources import Host
from orchestration.process import runner
from orchestration.settings.model import PASSED_ON, Settings

SERVICES = (
    "postgres",
    "airflow-apiserver",
    "airflow-scheduler",
    "airflow-dag-processor",
    "airflow-triggerer",
    "mlflow",
    "status",
)
SCHEDULER, WATCHDOG = "airflow-scheduler", "watchdog"
# What another stack may run from; all else is its own.
LENT = ("envs", "pg")
# For a task that still runs when its scheduler is replaced.
TASK_SECONDS = 24 * 3600
# The kernel's limit for the path of a socket.
SOCKET_PATH_BYTES = 107


class StandaloneEngine:
    """supervisord, PostgreSQL by the wheel's binaries, LocalExecutor: no Docker, no root."""

    name = "standalone"

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.state = State.of(settings)
        self.environments = Environments(settings)
        self.started_from = StartedFrom(self.state.run / "started-from.json")
        self.supervisord = Supervisord(self.state.supervisor, self.state.logs / "supervisord.log")

    def problems(self) -> list[Problem]:
        """Return why plain processes cannot work here: system, Python, socket path too long."""
        problems = []
        if platform.system() != "Linux":
            cause = f"The standalone engine runs on Linux only. This is {platform.system()}."
            problems.append(Problem("engine-unfit", cause, "Use Docker.", "engine"))
        longest = len(os.fsencode(self.state.folder / "run" / "supervisor.sock.12345678"))
        if longest > SOCKET_PATH_BYTES:
            cause = (
                f"{self.state.folder} is {longest - SOCKET_PATH_BYTES} bytes too long for sockets."
            )
            problems.append(Problem("engine-unfit", cause, "Clone to a shorter path.", "engine"))
        if not self.state.python("airflow").exists():
            problems += python_problem(self.settings)
        return problems

    def host(self) -> Host:
        """The file systems it fills, and the package index where an environment is missing."""
        place = permissions.nearest(self.state.folder)
        problem = permissions.unwritable(place)
        index = ("", None) if self.is_built() else clocks.ask_index(self.settings)
        places = (self.settings.root, place)
        return Host(
            (problem,) if problem else (), places=places, index=index[0], index_ahead=index[1]
        )

    def surviving_data(self) -> list[str]:
        """The database's folder, where one was made."""
        folder = self.state.folder / "postgres"
        return [str(folder)] if (folder / "PG_VERSION").exists() else []

    def images(self) -> tuple[str, ...]:
        """An environment each; there is no proxy here."""
        return IMAGES

    def is_built(self) -> bool:
        """The environments are those of the locks."""
        return self.environments.is_built()

    def build(self, images: Collection[str] = ()) -> None:
        """The environments, and PostgreSQL's binaries, that the locks ask for and that are not."""
        self.environments.build([*(images or IMAGES), "postgres"])

    def import_errors(self) -> str:
        """Import every DAG in the Airflow environment that belongs to the lock as it is now."""
        python = self.environments.candidate("airflow") / "bin" / "python"
        module = runtime_module("airflow.parse_dags")[1:]
        argv = (str(python), *module, str(self.settings.project_dir / "dags"))
        return runner.run(
            runner.Command(argv, env=services_environment(self.settings)), check=False
        ).failure_output

    def activate(self, images: Collection[str] = ()) -> None:
        """Environments that belong to the locks as they are now are used from here on."""
        self.environments.activate([*(images or IMAGES), "postgres"])

    def prune(self) -> None:
        """Delete environments that nothing runs from."""
        self.environments.prune(self.started_from.all())

    def builds(self) -> list[Build]:
        """Environments and PostgreSQL's binaries, of today and of before."""
        return self.environments.builds(self.started_from.all())

    def up(self, services: Sequence[str] = ()) -> None:
        """Start the database, run the one-shots, start the rest; or only what is asked for.

        What an earlier supervisord left behind is ended first; a changed setting restarts all, a
        changed environment what runs from it.
        """
        environment = services_environment(self.settings)
        made_of = self._made_of(environment)
        stamp = self.state.run / "environment.sha256"
        if self.supervisord.answers() and (not stamp.exists() or stamp.read_text() != made_of):
            self.supervisord.end()
        if not self.supervisord.answers():
            orphans.end(self.state.supervisor)
            self._make_folders()
            self.started_from.note(dict.fromkeys(SERVICES, ""))
            self.supervisord.begin(self._daemon(environment))
            self.started_from.note({"postgres": self._made_from("postgres")})
            stamp.write_text(made_of)
        if not services:
            # Schemas and accounts stay as these locks, settings and scripts have made them.
            locks = [*map(self._made_from, ONE_SHOTS)]
            made_of = f"{made_of} {locks} {init_jobs.digest(self.settings)}"
            anew = not self.surviving_data()
            init_jobs.run_all(self.settings, environment, made_of, anew=anew)
        for name in services or SERVICES:
            if self.started_from.of(name) != self._made_from(name):
                self.supervisord.stop(name)
            self._start(name)
        if not services:
            self.supervisord.start(WATCHDOG)

    def replace(self, service: str) -> None:
        """Stop and start one service, or run a one-shot; the scheduler ends its tasks first.

        Raises StackError when a one-shot fails.
        """
        if service in ONE_SHOTS:
            init_jobs.run(service, self.settings, services_environment(self.settings))
        elif service == SCHEDULER:
            self._relieve_scheduler()
        else:
            self.restart([service])

    def restart(self, services: Sequence[str]) -> None:
        """Stop and start services, each with its own time to end."""
        for name in services:
            self.supervisord.stop(name)
            self._start(name)

    def stop(self, services: Sequence[str]) -> None:
        """Stop services, and what would take that for a fault first."""
        # What is started after it may find other data.
        init_jobs.forget(self.settings)
        for name in (WATCHDOG, *services):
            # A one-shot is no program of supervisord's: it ends by itself.
            if name not in ONE_SHOTS:
                self.supervisord.stop(name)

    def finish_tasks(self) -> None:
        """The scheduler ends its tasks and stays stopped, with the watchdog that would mind."""
        self.supervisord.stop(WATCHDOG)
        self.supervisord.renew(SCHEDULER, TASK_SECONDS)
        # The new one is still being imported.
        self.supervisord.stop(SCHEDULER)

    def run(self, service: str, argv: Sequence[str]) -> int:
        """A command in the environment of a service, on the person's terminal."""
        return runner.attach(self.command(service, argv))

    def command(self, service: str, argv: Sequence[str], *, anew: bool = False) -> runner.Command:
        """A command in the environment of a service, which is always that of the settings now."""
        environment = services_environment(self.settings)
        if image := image_of(service):
            folder = self.state.python(image).parent
            environment["PATH"] = f"{folder}:{environment['PATH']}"
        return runner.Command(argv, env=environment, cwd=self.settings.root)

    def create_sandbox(self, other: Settings) -> Engine:
        """An engine for `other` that runs from these environments."""
        there = State.of(other).folder
        there.mkdir(parents=True, exist_ok=True)
        there.chmod(0o711)
        for name in LENT:
            (there / name).unlink(missing_ok=True)
            (there / name).symlink_to(self.state.folder / name)
        return StandaloneEngine(other)

    def remove_sandbox(self, other: Settings) -> None:
        """Delete what is left of the other's state."""
        shutil.rmtree(State.of(other).folder, ignore_errors=True)

    def down(self, *, volumes: bool, quietly: bool = False) -> None:
        """End all processes, in good order if they let us; with `volumes` delete the data too."""
        self.supervisord.end()
        orphans.end(self.state.supervisor)
        init_jobs.forget(self.settings)
        if volumes:
            for folder in self.state.data:
                shutil.rmtree(folder, ignore_errors=True)

    def ps(self) -> list[Service]:
        """Every service as supervisord sees it; `orphaned` where it was killed from above."""
        known = self.supervisord.processes()
        if not known:
            left = set(orphans.left_by(self.state.supervisor).values())
            return [Service(name, "orphaned" if name in left else "absent") for name in SERVICES]
        return [self.supervisord.service(known[name]) for name in SERVICES]

    def memory(self) -> dict[str, int]:
        """Bytes each service's processes hold."""
        processes = self.supervisord.processes().items()
        return {name: orphans.memory(info["pid"]) for name, info in processes if info["pid"]}

    def logs(self, services: Sequence[str], *, tail: int, since: str, follow: bool) -> int:
        """The services' log files, each line behind its service's name."""
        files = {name: self._log(name) for name in services or list(self.services())}
        return log_files.show(files, tail=tail, since=since, follow=follow)

    def tail(self, service: str, lines: int, since: datetime | None = None) -> str:
        """The last log lines of one service."""
        return "\n".join(log_files.last_lines(self._log(service), lines, since))

    def environment(self, service: str) -> Mapping[str, str]:
        """Its process's variables; PostgreSQL writes over its own."""
        pid = self.supervisord.processes().get(service, {"pid": 0})["pid"]
        return orphans.environment(pid) if pid and image_of(service) else {}

    def intended(self, service: str) -> Mapping[str, str]:
        """What settings and the compose file give to all services; the person's own is left out."""
        return self._given

    @cached_property
    def _given(self) -> dict[str, str]:
        own = {*self.settings.environment, "PATH", "STACK_PYTHON"}
        given = services_environment(self.settings).items()
        return {name: value for name, value in given if name not in own}

    def services(self) -> Iterator[str]:
        """The names of all services, one-shots included."""
        return iter((*SERVICES, *ONE_SHOTS))

    def _log(self, name: str) -> Path:
        return self.state.logs / f"{name}.log"

    def _make_folders(self) -> None:
        for folder in self.state.data:
            folder.mkdir(parents=True, exist_ok=True)
            folder.chmod(0o711 if folder.name == "run" else 0o700)
        if os.getuid() == 0:
            for name in ("postgres", "sockets"):
                shutil.chown(self.state.folder / name, POSTGRES_SYSTEM_USER, POSTGRES_SYSTEM_USER)

    def _daemon(self, environment: dict[str, str]) -> runner.Command:
        configuration = self.settings.root / "orchestration" / "supervisord.conf"
        program = runner.ours("supervisord", environment)
        argv = (program, "--configuration", str(configuration))
        return runner.Command(argv, env=environment, cwd=self.settings.root)

    def _start(self, name: str) -> None:
        self.supervisord.start(name)
        self.started_from.note({name: self._made_from(name)})

    def _relieve_scheduler(self) -> None:
        # It schedules nothing while its tasks end, which the watchdog would take for useless.
        self.supervisord.stop(WATCHDOG)
        try:
            self.supervisord.renew(SCHEDULER, TASK_SECONDS)
            self.started_from.note({SCHEDULER: self._made_from(SCHEDULER)})
        finally:
            self.supervisord.start(WATCHDOG)

    def _made_from(self, service: str) -> str:
        return self.environments.in_use(image_of(service) or service)

    def _made_of(self, environment: dict[str, str]) -> str:
        configuration = (self.settings.root / "orchestration" / "supervisord.conf").read_text()
        # Not by whose shell it was started, a person's or systemd's at boot.
        own = {n: value for n, value in environment.items() if not PASSED_ON.match(n)}
        told = [own, configuration]
        return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()
