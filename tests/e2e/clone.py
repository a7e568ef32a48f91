"""A fresh copy of the repository as a newcomer has it, used only by what a person types."""

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from signal import SIGHUP, SIGINT

import psutil
import requests

from orchestration.commands import systemd
from orchestration.host import ports
from tests.support.repository import ROOT, copy_repository

SYSTEMD_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
PORTS = ("AIRFLOW_PORT", "MLFLOW_PORT", "STATUS_PORT")

# What runs, and where the engines differ: without Docker tasks run in the scheduler.
ON_BOTH = {
    "postgres",
    "airflow-apiserver",
    "airflow-scheduler",
    "airflow-dag-processor",
    "airflow-triggerer",
    "mlflow",
    "status",
}
SERVICES = {"docker": ON_BOTH | {"redis", "airflow-worker"}, "standalone": ON_BOTH}
ONE_SHOTS = {"airflow-init", "mlflow-migrate"}
# Clones that were made and not removed yet: what can be looked at when a test fails.
STANDING: list["Clone"] = []


@dataclass
class Clone:
    """A checkout with its own settings."""

    folder: Path
    exported: dict[str, str]
    first_up: str = ""
    # What was open before that, and every argument list that was seen meanwhile.
    listened: frozenset[tuple[str, str, int]] = frozenset()
    arguments: frozenset[str] = frozenset()

    @property
    def engine(self) -> str:
        return self.exported["STACK_ENGINE"]

    def run(self, *argv: str, timeout: float = 900, **settings: str) -> subprocess.CompletedProcess:
        """Run a command in the clone; `settings` are exported to it as a person would."""
        return subprocess.run(
            argv,
            cwd=self.folder,
            env=self.environment(**settings),
            timeout=timeout,
            capture_output=True,
            text=True,
            check=False,
        )

    def environment(self, **settings: str) -> dict[str, str]:
        return {**os.environ, **self.exported, **settings}

    def by_unit(self, key: str) -> str:
        """Run a line of the systemd unit (`ExecStart`, `ExecStop`) as systemd would; its output."""
        if not (self.folder / ".venv").exists():
            (self.folder / ".venv").symlink_to(sys.prefix)
        [line] = re.findall(rf"^{key}=(.*)$", systemd.unit(self.folder), re.MULTILINE)
        # Of a person's shell it has nothing; engine and ports are this clone's own.
        given = {"PATH": SYSTEMD_PATH, "HOME": str(Path.home()), **self.exported}
        pairs = [f"{name}={value}" for name, value in given.items()]
        return self.well("env", "-i", *pairs, *shlex.split(line))

    def start(self, *argv: str) -> subprocess.Popen:
        """Start a command in the clone, as in a terminal of its own, and do not wait for it."""
        return subprocess.Popen(
            argv,
            cwd=self.folder,
            env=self.environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
            # Whoever runs these tests may have them ignored, as `nohup` does.
            preexec_fn=lambda: [signal.signal(s, signal.SIG_DFL) for s in (SIGHUP, SIGINT)],
        )

    def well(self, *argv: str, **options: str) -> str:
        """Run a command that must succeed; what it printed."""
        done = self.run(*argv, **options)
        assert done.returncode == 0, f"{argv}\n{done.stdout[-4000:]}\n{done.stderr[-4000:]}"
        return done.stdout

    def url(self, port: str) -> str:
        return f"http://127.0.0.1:{self.exported[port]}"

    def health(self) -> dict:
        return json.loads(self.run("inv", "health", "--json").stdout)

    def since(self) -> dict[str, str]:
        """When each service was started; without one-shots, which run again with every `up`."""
        rows = self.health()["services"]
        return {row["name"]: row["since"] for row in rows if row["state"] == "running"}

    def settings(self) -> dict[str, str]:
        """What stands in .env; nothing where there is none yet."""
        path = self.folder / ".env"
        lines = path.read_text().splitlines() if path.exists() else []
        pairs = (line.split("=", 1) for line in lines if "=" in line and line[0] != "#")
        return dict(pairs)

    def setting(self, name: str) -> str:
        return self.settings()[name]

    def add_dags(self, *names: str) -> None:
        """Put DAGs of tests/e2e/dags among those of the clone."""
        for name in names:
            shutil.copy2(ROOT / "tests/e2e/dags" / f"{name}.py", self.folder / "dags")

    def inside(self, service: str, *argv: str) -> str:
        """Run a command in a service's container; what it printed."""
        return self.well("docker", "exec", self.container(service), *argv)

    def container(self, service: str) -> str:
        """The id of a service's container; its name counts on when a worker is replaced."""
        label = f"label=com.docker.compose.service={service}"
        return self.containers("--all", "--filter", label, "--quiet").split()[0]

    def state_folder(self) -> Path:
        """Where the standalone engine keeps everything (for root PostgreSQL must reach it)."""
        if os.getuid():
            return self.folder / ".state"
        return Path("/var/lib/mlops-stack") / self.setting("COMPOSE_PROJECT_NAME")

    def supervisor(self) -> str:
        """The address of the standalone engine's supervisord."""
        return f"unix://{self.state_folder()}/run/supervisor.sock"

    def processes(self) -> list[psutil.Process]:
        """Every process of the standalone engine: it carries the address of this stack."""
        found, address = [], self.supervisor()
        for process in psutil.process_iter():
            try:
                if process.environ().get("SUPERVISOR_SERVER_URL") == address:
                    found.append(process)
            except psutil.Error:
                continue
        return found

    def containers(self, *options: str) -> str:
        """What `docker ps` tells of this clone's containers."""
        project = f"label=com.docker.compose.project={self.setting('COMPOSE_PROJECT_NAME')}"
        return self.well("docker", "ps", "--filter", project, *options)

    def client(self, code: str) -> str:
        """Run Python as somebody with MLflow's client and none of our code; what it printed."""
        if self.engine == "docker":
            return self.inside(
                "airflow-scheduler", "python", "-c", f"import os; os.chdir('/'); {code}"
            )
        python = self.state_folder() / "envs/airflow/bin/python"
        asked = {"MLFLOW_TRACKING_URI": self.url("MLFLOW_PORT")}
        # As in containers, where their environment holds them.
        asked |= {"MLFLOW_TRACKING_USERNAME": "worker"}
        asked |= {"MLFLOW_TRACKING_PASSWORD": self.setting("MLFLOW_WORKER_PASSWORD")}
        return self.well(str(python), "-c", code, **asked)

    def login(self, name: str = "status") -> tuple[str, str]:
        """An account of MLflow, by default the one that may only read."""
        known = {"admin": "MLFLOW_ADMIN_PASSWORD", "worker": "MLFLOW_WORKER_PASSWORD"}
        return name, self.setting(known.get(name, "STATUS_PASSWORD"))

    def mlflow(self, method: str, path: str, name: str = "status", **asked) -> requests.Response:
        """MLflow's answer to one of its accounts."""
        address = f"{self.url('MLFLOW_PORT')}/api/2.0/mlflow/{path}"
        return requests.request(method, address, auth=self.login(name), timeout=30, **asked)

    def said(self) -> dict[str, dict]:
        """What the status page says of each service and each piece of work, by name."""
        document = requests.get(self.url("STATUS_PORT") + "/status.json", timeout=10).json()
        return {each["name"]: each for each in [*document["services"], *document["work"]]}

    def as_status(self, code: str) -> subprocess.CompletedProcess:
        """Run Python where the status page runs, with its accounts and its packages."""
        if self.engine == "docker":
            return self.run("docker", "exec", self.container("status"), "python", "-c", code)
        password, sockets = self.setting("STATUS_PASSWORD"), self.state_folder() / "sockets"
        database = f"postgresql://status:{password}@/airflow?host={sockets}"
        python = self.state_folder() / "envs/status/bin/python"
        return self.run(str(python), "-c", code, DATABASE_URL=database)

    def alias(self, name: str) -> dict | None:
        """The version of the registered model that holds an alias."""
        asked = {"name": "flight-delay", "alias": name}
        found = self.mlflow("GET", "registered-models/alias", params=asked)
        # Of a model that is not there it is no JSON.
        return found.json().get("model_version") if found.status_code != 403 else None

    def await_runs(self, dag_id: str, seconds: float) -> list[dict]:
        """All runs of a DAG, once there are some and none is under way."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            runs = self.airflow(f"/api/v2/dags/{dag_id}/dagRuns?limit=100")["dag_runs"]
            if {run["state"] for run in runs} in ({"success"}, {"failed"}, {"success", "failed"}):
                return runs
            time.sleep(2)
        raise AssertionError(f"{dag_id} still runs or never did: {runs}")

    def registered(self) -> list[dict]:
        """The newest version of each model in MLflow's registry."""
        models = self.mlflow("GET", "registered-models/search").json().get("registered_models", [])
        return [version for model in models for version in model.get("latest_versions", [])]

    def airflow(self, path: str, timeout: float = 10) -> dict:
        """An answer of Airflow's API, as the account of .env."""
        return self.session().get(self.url("AIRFLOW_PORT") + path, timeout=timeout).json()

    def session(self) -> requests.Session:
        """Logged in to Airflow's API, as the account of .env."""
        login = {"username": "airflow", "password": self.setting("_AIRFLOW_WWW_USER_PASSWORD")}
        address, session = self.url("AIRFLOW_PORT"), requests.Session()
        token = requests.post(f"{address}/auth/token", json=login, timeout=30).json()
        session.headers["Authorization"] = f"Bearer {token['access_token']}"
        return session

    def remove(self) -> None:
        """Take the stack down with its data and what it was built into."""
        self.well("inv", "down", "--volumes", "--yes")
        STANDING.remove(self)
        if self.engine == "standalone":
            shutil.rmtree(self.state_folder())
            return
        project = self.setting("COMPOSE_PROJECT_NAME")
        images = [f"{project}-{name}" for name in ("airflow", "mlflow", "status", "tls")]
        self.run("docker", "image", "rm", *images)


def until(true: Callable[[], bool], seconds: float, pause: float = 0.5) -> None:
    """Wait until something is so, asked with pauses of so many seconds; fails when not in time."""
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline
        time.sleep(pause)


def free_ports() -> dict[str, str]:
    return dict(zip(PORTS, map(str, ports.free(len(PORTS))), strict=True))


def fresh_copy(folder: Path, engine: str, kind: type[Clone] = Clone) -> Clone:
    """What git knows of this checkout, laid out in another folder."""
    copy_repository(folder)
    folder.chmod(0o755)
    clone = kind(folder, {**free_ports(), "STACK_ENGINE": engine})
    STANDING.append(clone)
    return clone


def reachable_copy(folder: Path, engine: str) -> Clone:
    """The same in a folder of the tests; by themselves services may not enter one."""
    clone = fresh_copy(folder / "clone", engine)
    for above in (folder, folder.parent):
        above.chmod(0o755)
    return clone
