"""Run the services as plain processes under supervisord."""

import hashlib
import json
import os
import platform
import shutil
from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import datetime
from functools import cached_property
from pathlib import Path

from orchestration.dependencies import debian
from orchestration.engines.base import (
    IMAGES,
    INIT_JOBS,
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
    service_environment,
    services_environment,
)
from orchestration.engines.standalone.supervisor import Supervisord
from orchestration.engines.standalone.virtualenvs import Environments, StartRecord, python_problem
from orchestration.errors import Problem
from orchestration.host import clocks, permissions
from orchestration.host.resources import Host
from orchestration.process import runner
from orchestration.settings.model import INHERITED, Settings

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
# Folders that a sandbox shares with this stack. It has its own of all others.
SHARED = ("envs", "pg")
# How long a replaced scheduler may take to finish its running tasks.
TASK_SECONDS = 24 * 3600
# The kernel's limit for the path of a socket.
SOCKET_PATH_BYTES = 107


class StandaloneEngine:
    """supervisord, PostgreSQL from a wheel and LocalExecutor: needs neither Docker nor root."""

    name = "standalone"

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.state = State.of(settings)
        self.environments = Environments(settings)
        self.start_record = StartRecord(self.state.run / "started-from.json")
        self.supervisord = Supervisord(self.state.supervisor, self.state.logs / "supervisord.log")

    def problems(self) -> list[Problem]:
        """Return why plain processes cannot work here: system, Python, socket path too long."""
        problems = []
        if platform.system() != "Linux":
            cause = f"The standalone engine runs on Linux only. This is {platform.system()}."
            problems.append(Problem("engine-unfit", cause, "Use Docker.", "engine"))
        longest = len(os.fsencode(self.state.folder / "run" / "supervisor.sock.12345678"))
        if longest > SOCKET_PATH_BYTES:
            excess = longest - SOCKET_PATH_BYTES
            cause = f"The path {self.state.folder} is {excess} bytes too long for sockets."
            problems.append(Problem("engine-unfit", cause, "Clone to a shorter path.", "engine"))
        if not self.state.python("airflow").exists():
            problems += python_problem(self.settings)
        return problems

    def host(self) -> Host:
        """Return the folders that will grow, and the package index if a build will need it."""
        folder = permissions.nearest_existing(self.state.folder)
        problem = permissions.unwritable(folder)
        index = ("", None) if self.is_built() else clocks.read_index_clock(self.settings)
        folders = (self.settings.root, folder)
        return Host(
            (problem,) if problem else (), folders=folders, index=index[0], index_ahead=index[1]
        )

    def surviving_data(self) -> list[str]:
        """Return the database's folder if it contains a database."""
        folder = self.state.folder / "postgres"
        return [str(folder)] if (folder / "PG_VERSION").exists() else []

    def images(self) -> tuple[str, ...]:
        """Return the images that are built as environments; there is no TLS proxy here."""
        return IMAGES

    def is_built(self) -> bool:
        """Return whether the environments in use match the lock files."""
        return self.environments.is_built()

    def build(self, images: Collection[str] = ()) -> None:
        """Build the environments and PostgreSQL binaries that the lock files need."""
        if "airflow" in (images or IMAGES) and (advice := debian.advice(self.settings)):
            print(advice)
        self.environments.build([*(images or IMAGES), "postgres"])

    def package_errors(self, packages: Collection[str]) -> str:
        """Import packages in the newest Airflow environment; return the end of the errors."""
        return self._run_in_newest("airflow.import_packages", *packages)

    def import_errors(self) -> str:
        """Import every DAG in the newest Airflow environment; return the end of the errors."""
        return self._run_in_newest("airflow.parse_dags", str(self.settings.project_dir / "dags"))

    def _run_in_newest(self, module: str, *arguments: str) -> str:
        python = self.environments.candidate("airflow") / "bin" / "python"
        argv = (str(python), *runtime_module(module)[1:], *arguments)
        self._link_include()
        return runner.run(
            runner.Command(argv, env=services_environment(self.settings)), check=False
        ).failure_output

    def activate(self, images: Collection[str] = ()) -> None:
        """Use the environments of the current lock files from now on."""
        self.environments.activate([*(images or IMAGES), "postgres"])

    def outdated(self, services: Collection[str]) -> list[str]:
        """Return the services that were started from another environment than the active one.

        Init jobs are outdated if a service of the same environment is.
        """

        def is_outdated(name: str) -> bool:
            return self.start_record.folder_of(name) != self._in_use(name)

        images = {image_of(name) for name in SERVICES if image_of(name) and is_outdated(name)}
        return [name for name in services if image_of(name) in images]

    def prune(self) -> None:
        """Delete environments that are not in use and that no service runs from."""
        self.environments.prune(self.start_record.folders())

    def builds(self) -> list[Build]:
        """Return all environments and PostgreSQL binaries, current and old."""
        return self.environments.builds(self.start_record.folders())

    def up(self, services: Sequence[str] = ()) -> None:
        """Start the database, run the init jobs and start the rest; or only start `services`.

        First stops processes that an earlier supervisord left behind. A changed setting restarts
        everything, a changed environment only the services that run from it.
        """
        environment = services_environment(self.settings)
        digest = self._digest(environment)
        stamp = self.state.run / "environment.sha256"
        if self.supervisord.answers() and (not stamp.exists() or stamp.read_text() != digest):
            self.supervisord.shut_down()
        if not self.supervisord.answers():
            orphans.stop(self.state.supervisor)
            self._make_folders()
            # They also wait for the database, which may have to recover from a crash.
            init_jobs.reset(self.settings)
            self.start_record.add(dict.fromkeys(SERVICES, ""))
            self.supervisord.launch(self._daemon(environment))
            self.start_record.add({"postgres": self._in_use("postgres")})
            stamp.write_text(digest)
        if not services:
            # While the init jobs wait for the database, the status page shows why.
            self._start_current("status")
            # Schemas and accounts depend on locks, settings and scripts alone.
            locks = [*map(self._in_use, INIT_JOBS)]
            inputs = f"{digest} {locks} {init_jobs.digest(self.settings)}"
            force = not self.surviving_data()
            init_jobs.run_all(self.settings, environment, inputs, force=force)
        for name in services or SERVICES:
            self._start_current(name)
        if not services:
            self.supervisord.start(WATCHDOG)

    def replace(self, service: str) -> None:
        """Restart one service or run an init job; the scheduler finishes its tasks first.

        Raises StackError if an init job fails.
        """
        if service in INIT_JOBS:
            init_jobs.run(service, self.settings, services_environment(self.settings))
        elif service == SCHEDULER:
            self._replace_scheduler()
        else:
            self.restart([service])

    def restart(self, services: Sequence[str]) -> None:
        """Stop and start services, each with its own grace period."""
        for name in services:
            self.supervisord.stop(name)
            self._start(name)

    def stop(self, services: Sequence[str]) -> None:
        """Stop services, but first the watchdog, which would take that for a fault."""
        # The data may differ at the next start, so the init jobs must run again.
        init_jobs.reset(self.settings)
        for name in (WATCHDOG, *services):
            # supervisord does not run the init jobs. They exit by themselves.
            if name not in INIT_JOBS:
                self.supervisord.stop(name)

    def finish_tasks(self) -> None:
        """Let the scheduler finish its tasks, and keep it and the watchdog stopped."""
        self.supervisord.stop(WATCHDOG)
        self.supervisord.restart_gracefully(SCHEDULER, TASK_SECONDS)
        # The new scheduler is still importing Airflow, so it has not started a task yet.
        self.supervisord.stop(SCHEDULER)

    def run(self, service: str, argv: Sequence[str]) -> int:
        """Run a command in a service's environment on the user's terminal."""
        return runner.attach(self.command(service, argv))

    def command(self, service: str, argv: Sequence[str], *, fresh: bool = False) -> runner.Command:
        """Return a command in a service's environment, always with the current settings."""
        environment = service_environment(services_environment(self.settings), service)
        if image := image_of(service):
            folder = self.state.python(image).parent
            environment["PATH"] = f"{folder}:{environment['PATH']}"
        return runner.Command(argv, env=environment, cwd=self.settings.root)

    def create_sandbox(self, other: Settings) -> Engine:
        """Return an engine for `other` that runs from these environments."""
        folder = State.of(other).folder
        folder.mkdir(parents=True, exist_ok=True)
        folder.chmod(0o711)
        for name in SHARED:
            (folder / name).unlink(missing_ok=True)
            (folder / name).symlink_to(self.state.folder / name)
        return StandaloneEngine(other)

    def remove_sandbox(self, other: Settings) -> None:
        """Delete the sandbox's state folder."""
        shutil.rmtree(State.of(other).folder, ignore_errors=True)

    def down(self, *, volumes: bool, quietly: bool = False) -> None:
        """Stop all processes, in order if they respond; with `volumes` delete the data too."""
        self.supervisord.shut_down()
        orphans.stop(self.state.supervisor)
        init_jobs.reset(self.settings)
        if volumes:
            for folder in self.state.data:
                shutil.rmtree(folder, ignore_errors=True)

    def ps(self) -> list[Service]:
        """Return every service as supervisord sees it; `orphaned` if its supervisord was killed."""
        processes = self.supervisord.processes()
        if not processes:
            names = set(orphans.find(self.state.supervisor).values())
            return [Service(name, "orphaned" if name in names else "absent") for name in SERVICES]
        return [self.supervisord.service(processes[name]) for name in SERVICES]

    def memory(self) -> dict[str, int]:
        """Return the bytes of memory that each service's processes use."""
        processes = self.supervisord.processes().items()
        return {name: orphans.memory(info["pid"]) for name, info in processes if info["pid"]}

    def logs(self, services: Sequence[str], *, tail: int, since: str, follow: bool) -> int:
        """Print the services' log files, each line after its service's name."""
        files = {name: self._log(name) for name in services or list(self.services())}
        return log_files.show(files, tail=tail, since=since, follow=follow)

    def tail(self, service: str, lines: int, since: datetime | None = None) -> str:
        """Return the last log lines of one service."""
        return "\n".join(log_files.last_lines(self._log(service), lines, since))

    def environment(self, service: str) -> Mapping[str, str]:
        """Return its process's variables; empty for PostgreSQL, which overwrites its own."""
        pid = self.supervisord.processes().get(service, {"pid": 0})["pid"]
        return orphans.environment(pid) if pid and image_of(service) else {}

    def intended_environment(self, service: str) -> Mapping[str, str]:
        """Return the variables that settings and Compose files set, without the user's own."""
        return service_environment(self._intended_environment, service)

    @cached_property
    def _intended_environment(self) -> dict[str, str]:
        # The shell of each caller may set other ones.
        variables = services_environment(self.settings).items()
        return {n: v for n, v in variables if not INHERITED.match(n) and n != "STACK_PYTHON"}

    def services(self) -> Iterator[str]:
        """Return the names of all services, init jobs included."""
        return iter((*SERVICES, *INIT_JOBS))

    def _log(self, name: str) -> Path:
        return self.state.logs / f"{name}.log"

    def _make_folders(self) -> None:
        for folder in self.state.data:
            folder.mkdir(parents=True, exist_ok=True)
            folder.chmod(0o711 if folder.name == "run" else 0o700)
        self._link_include()
        if os.getuid() == 0:
            for name in ("postgres", "sockets"):
                shutil.chown(self.state.folder / name, POSTGRES_SYSTEM_USER, POSTGRES_SYSTEM_USER)

    def _link_include(self) -> None:
        link = self.state.folder / "airflow" / "include"
        link.parent.mkdir(parents=True, exist_ok=True)
        link.unlink(missing_ok=True)
        link.symlink_to(self.settings.project_dir / "include")

    def _daemon(self, environment: dict[str, str]) -> runner.Command:
        configuration = self.settings.root / "orchestration" / "supervisord.conf"
        program = runner.find_program("supervisord", environment)
        argv = (program, "--configuration", str(configuration))
        return runner.Command(argv, env=environment, cwd=self.settings.root)

    def _start_current(self, name: str) -> None:
        """Start a service unless it already runs from the current environment."""
        if self.start_record.folder_of(name) != self._in_use(name):
            self.supervisord.stop(name)
        self._start(name)

    def _start(self, name: str) -> None:
        self.supervisord.start(name)
        self.start_record.add({name: self._in_use(name)})

    def _replace_scheduler(self) -> None:
        # It schedules nothing while its tasks finish, so the watchdog would kill it.
        self.supervisord.stop(WATCHDOG)
        try:
            self.supervisord.restart_gracefully(SCHEDULER, TASK_SECONDS)
            self.start_record.add({SCHEDULER: self._in_use(SCHEDULER)})
        finally:
            self.supervisord.start(WATCHDOG)

    def _in_use(self, service: str) -> str:
        return self.environments.in_use(image_of(service) or service)

    def _digest(self, environment: dict[str, str]) -> str:
        configuration = (self.settings.root / "orchestration" / "supervisord.conf").read_text()
        # The shell's variables are left out, as systemd starts the stack with others at boot.
        own = {n: value for n, value in environment.items() if not INHERITED.match(n)}
        inputs = [own, configuration]
        return hashlib.sha256(json.dumps(inputs, sort_keys=True).encode()).hexdigest()
