"""The standalone engine: the same services as plain processes under supervisord."""

import hashlib
import json
import os
import platform
import re
import shutil
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from xmlrpc.client import Fault, ServerProxy

from orchestration import StackError, leftovers, log_files, shell
from orchestration.engine import Service
from orchestration.environments import Environments, python_problem
from orchestration.settings import Settings
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
START_SECONDS = 20
STOP_SECONDS = 90
# The kernel's limit for the path of a socket.
SOCKET_PATH_BYTES = 107


class StandaloneEngine:
    """supervisord, PostgreSQL by the wheel's binaries, LocalExecutor: no Docker, no root."""

    name = "standalone"

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.state = State.of(settings)
        self.environments = Environments(settings)

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
        if self._answers() and (not stamp.exists() or stamp.read_text() != made_of):
            self._shut_down()
        if not self._answers():
            leftovers.end(self.state.supervisor)
            self._make_folders()
            self._start_supervisord(environment)
            stamp.write_text(made_of)
        self._initialise(environment, made_of)
        for name in SERVICES:
            self._start(name)

    def down(self, *, volumes: bool) -> None:
        """End all processes, in good order if they let us; with `volumes` delete the data too."""
        self._shut_down()
        leftovers.end(self.state.supervisor)
        if volumes:
            for folder in self.state.data:
                shutil.rmtree(folder, ignore_errors=True)

    def ps(self) -> list[Service]:
        """Every service as supervisord sees it; `orphaned` where it was killed from above."""
        known = {info["name"]: info for info in self._ask("getAllProcessInfo", default=[])}
        if not known:
            left = set(leftovers.left_by(self.state.supervisor).values())
            return [Service(name, "orphaned" if name in left else "absent") for name in SERVICES]
        starts = self._starts()
        return [_service(known[name], starts.count(name)) for name in SERVICES]

    def memory(self) -> dict[str, int]:
        """Bytes each service's processes hold."""
        running = {
            i["name"]: i["pid"] for i in self._ask("getAllProcessInfo", default=[]) if i["pid"]
        }
        return {name: leftovers.memory(pid) for name, pid in running.items()}

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

    def _start_supervisord(self, environment: dict[str, str]) -> None:
        configuration = self.settings.root / "orchestration" / "supervisord.conf"
        argv = ("supervisord", "--configuration", str(configuration))
        shell.output(shell.Command(argv, env=environment, cwd=self.settings.root))
        deadline = time.monotonic() + START_SECONDS
        while not self._answers():
            if time.monotonic() > deadline:
                raise StackError(
                    f"supervisord did not start: {self.state.logs / 'supervisord.log'}"
                )
            time.sleep(0.1)

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

    def _start(self, name: str) -> None:
        try:
            self._ask("startProcess", name, False)
        except Fault as fault:
            if "ALREADY_STARTED" not in fault.faultString:
                raise StackError(f"{name} does not start: {fault.faultString}") from None

    def _shut_down(self) -> None:
        pid = self._ask("getPID")
        if pid is None:
            return
        self._ask("shutdown")
        deadline = time.monotonic() + STOP_SECONDS
        while any(leftovers.family(pid)) and time.monotonic() < deadline:
            time.sleep(0.2)

    def _answers(self) -> bool:
        return self._ask("getPID") is not None

    def _ask(self, method: str, *arguments: Any, default: Any = None) -> Any:
        # supervisor is imported late: every verb of the docker engine would pay for it.
        from supervisor.xmlrpc import SupervisorTransport

        transport = SupervisorTransport(None, None, self.state.supervisor)
        try:
            with ServerProxy("http://127.0.0.1", transport=transport) as proxy:
                return getattr(proxy.supervisor, method)(*arguments)
        except OSError:
            return default
        except Fault as fault:
            # Already on its way out: it answers, but to nothing any more.
            if fault.faultString == "SHUTDOWN_STATE":
                return default
            raise

    def _starts(self) -> list[str]:
        log = self.state.logs / "supervisord.log"
        text = log.read_text(errors="replace") if log.exists() else ""
        current = text.rpartition("supervisord started with pid")[2]
        return re.findall(r"spawned: '([\w-]+)'", current)


def _service(info: dict[str, Any], starts: int) -> Service:
    state = STATES.get(info["statename"], "exited")
    return Service(
        name=info["name"],
        state=state,
        since=datetime.fromtimestamp(info["start"], UTC) if info["start"] else None,
        restarts=max(0, starts - 1),
        exit_code=info["exitstatus"],
    )
