"""The standalone engine: the same services as plain processes under supervisord."""

import hashlib
import json
import os
import platform
import shutil
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from orchestration import StackError, leftovers, log_files, shell
from orchestration.engine import Service
from orchestration.environments import Environments, python_problem
from orchestration.settings import Settings
from orchestration.supervisord import Supervisord
from orchestration.surroundings import POSTGRES_SYSTEM_USER, State, services_environment

SERVICES = (
    "postgres",
    "airflow-apiserver",
    "airflow-scheduler",
    "airflow-dag-processor",
    "airflow-triggerer",
    "mlflow",
    "status",
)
ONE_SHOTS = {"airflow-init": "airflow", "mlflow-migrate": "mlflow"}
# supervisord's words in Docker's.
STATES = {
    "STOPPED": "created",
    "STARTING": "starting",
    "RUNNING": "running",
    "BACKOFF": "restarting",
    "STOPPING": "stopping",
}
# The kernel's limit for the path of a socket.
SOCKET_PATH_BYTES = 107


class StandaloneEngine:
    """supervisord, PostgreSQL by the wheel's binaries, LocalExecutor: no Docker, no root."""

    name = "standalone"

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.state = State.of(settings)
        self.environments = Environments(settings)
        self.supervisord = Supervisord(self.state.supervisor, self.state.logs / "supervisord.log")

    def problems(self) -> list[str]:
        """Why plain processes cannot work here: system, Python, a path too long for sockets."""
        wrong = []
        if platform.system() != "Linux":
            wrong.append(
                f"the standalone engine runs on Linux, this is {platform.system()}: use Docker"
            )
        longest = len(os.fsencode(self.state.folder / "run" / "supervisor.sock.12345678"))
        if longest > SOCKET_PATH_BYTES:
            wrong.append(
                f"{self.state.folder} is {longest - SOCKET_PATH_BYTES} bytes too long for "
                "sockets: clone into a shorter path"
            )
        if not self.state.python("airflow").exists():
            wrong.append(python_problem(self.settings))
        return [problem for problem in wrong if problem]

    def surviving_data(self) -> list[str]:
        """The database's folder, where one was made."""
        folder = self.state.folder / "postgres"
        return [str(folder)] if (folder / "PG_VERSION").exists() else []

    def is_built(self) -> bool:
        """The environments are those of the locks."""
        return self.environments.is_built()

    def build(self) -> None:
        """The environments and PostgreSQL's binaries, where missing or older than their locks."""
        self.environments.build()

    def up(self) -> None:
        """Start the database, run the one-shots, start the rest.

        What an earlier supervisord left behind is ended first; a changed setting restarts all.
        """
        environment = services_environment(self.settings)
        made_of = self._made_of(environment)
        stamp = self.state.run / "environment.sha256"
        if self.supervisord.answers() and (not stamp.exists() or stamp.read_text() != made_of):
            self.supervisord.end()
        if not self.supervisord.answers():
            leftovers.end(self.state.supervisor)
            self._make_folders()
            self.supervisord.begin(self._daemon(environment))
            stamp.write_text(made_of)
        self._initialise(environment, made_of)
        for name in SERVICES:
            self.supervisord.start(name)

    def down(self, *, volumes: bool) -> None:
        """End all processes, in good order if they let us; with `volumes` delete the data too."""
        self.supervisord.end()
        leftovers.end(self.state.supervisor)
        if volumes:
            for folder in self.state.data:
                shutil.rmtree(folder, ignore_errors=True)

    def ps(self) -> list[Service]:
        """Every service as supervisord sees it; `orphaned` where it was killed from above."""
        known = self.supervisord.processes()
        if not known:
            left = set(leftovers.left_by(self.state.supervisor).values())
            return [Service(name, "orphaned" if name in left else "absent") for name in SERVICES]
        return [_service(known[name], self.supervisord.restarts(name)) for name in SERVICES]

    def memory(self) -> dict[str, int]:
        """Bytes each service's processes hold."""
        processes = self.supervisord.processes().items()
        return {name: leftovers.memory(info["pid"]) for name, info in processes if info["pid"]}

    def logs(self, services: Sequence[str], *, tail: int, since: str, follow: bool) -> int:
        """The services' log files, each line behind its service's name."""
        files = {name: self._log(name) for name in services or list(self.services())}
        return log_files.show(files, tail=tail, since=since, follow=follow)

    def tail(self, service: str, lines: int) -> str:
        """The last log lines of one service."""
        return "\n".join(log_files.last_lines(self._log(service), lines))

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

    def _daemon(self, environment: dict[str, str]) -> shell.Command:
        configuration = self.settings.root / "orchestration" / "supervisord.conf"
        argv = ("supervisord", "--configuration", str(configuration))
        return shell.Command(argv, env=environment, cwd=self.settings.root)

    def _made_of(self, environment: dict[str, str]) -> str:
        configuration = (self.settings.root / "orchestration" / "supervisord.conf").read_text()
        told = [environment, configuration, self.environments.fingerprint()]
        return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()

    def _initialise(self, environment: dict[str, str], made_of: str) -> None:
        # Schemas and the first account stay as they were made by these locks and settings.
        stamp = self.state.run / "initialised"
        if stamp.exists() and stamp.read_text() == made_of and self.surviving_data():
            return
        with ThreadPoolExecutor() as pool:
            for ended in [pool.submit(self._run_one_shot, name, environment) for name in ONE_SHOTS]:
                ended.result()
        stamp.write_text(made_of)

    def _run_one_shot(self, name: str, environment: dict[str, str]) -> None:
        script = self.settings.root / "orchestration" / "config" / f"{name.replace('-', '_')}.py"
        command = shell.Command(
            (str(self.state.python(ONE_SHOTS[name])), str(script)), env=environment
        )
        try:
            said = shell.output(command, timeout=180)
        except StackError as error:
            raise StackError(f"{name} failed: {error}") from None
        self._log(name).write_text(said)


def _service(info: dict[str, Any], restarts: int) -> Service:
    state = STATES.get(info["statename"], "exited")
    return Service(
        name=info["name"],
        state=state,
        since=datetime.fromtimestamp(info["start"], UTC) if info["start"] else None,
        restarts=restarts,
        exit_code=info["exitstatus"],
    )
