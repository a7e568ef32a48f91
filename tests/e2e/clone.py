"""Copy the repository as a new user would clone it, and run the commands that a user types."""

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

from orchestration.host import ports
from tests.support.repository import ROOT, copy_repository

SYSTEMD_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
PORTS = ("AIRFLOW_PORT", "MLFLOW_PORT", "STATUS_PORT")

# Without Docker there are no Redis and no worker: tasks run in the scheduler.
COMMON_SERVICES = {
    "postgres",
    "airflow-apiserver",
    "airflow-scheduler",
    "airflow-dag-processor",
    "airflow-triggerer",
    "mlflow",
    "status",
}
SERVICES = {"docker": COMMON_SERVICES | {"redis", "airflow-worker"}, "standalone": COMMON_SERVICES}
INIT_JOBS = {"airflow-init", "mlflow-migrate"}
# Clones that still exist. Evidence of a failed test is collected from each of them.
CLONES: list["Clone"] = []


@dataclass
class Clone:
    """A copy of the repository in `folder`, with the variables that its user has `exported`."""

    folder: Path
    exported: dict[str, str]
    # Output of the first `inv up`.
    first_up: str = ""
    # Sockets that listened before it, and command lines of all processes that ran during it.
    sockets_before_up: frozenset[tuple[str, str, int]] = frozenset()
    arguments: frozenset[str] = frozenset()
    # The umask of its user's commands; -1 is that of the tests.
    umask: int = -1

    @property
    def engine(self) -> str:
        return self.exported["STACK_ENGINE"]

    def run(self, *argv: str, timeout: float = 900, **settings: str) -> subprocess.CompletedProcess:
        """Run a command in the clone, with `settings` as additional environment variables."""
        return subprocess.run(
            argv,
            cwd=self.folder,
            env=self.environment(**settings),
            timeout=timeout,
            capture_output=True,
            text=True,
            umask=self.umask,
            check=False,
        )

    def environment(self, **settings: str) -> dict[str, str]:
        return {**os.environ, **self.exported, **settings}

    def run_unit_command(self, key: str) -> str:
        """Run `ExecStart` or `ExecStop` of the systemd unit as systemd does. Return its output."""
        if not (self.folder / ".venv").exists():
            (self.folder / ".venv").symlink_to(sys.prefix)
        # The unit of the stack is the first.
        line = re.findall(rf"^{key}=(.*)$", self.run_ok("inv", "systemd"), re.MULTILINE)[0]
        # systemd passes on no variable of a user's shell. Engine and ports are this clone's own.
        environment = {"PATH": SYSTEMD_PATH, "HOME": str(Path.home()), **self.exported}
        pairs = [f"{name}={value}" for name, value in environment.items()]
        return self.run_ok("env", "-i", *pairs, *shlex.split(line))

    def start(self, *argv: str) -> subprocess.Popen:
        """Start a command in the clone, in a session of its own, and do not wait for it."""
        return subprocess.Popen(
            argv,
            cwd=self.folder,
            env=self.environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
            # The process that runs the tests may ignore these signals, as under `nohup`.
            preexec_fn=lambda: [signal.signal(s, signal.SIG_DFL) for s in (SIGHUP, SIGINT)],
        )

    def run_ok(self, *argv: str, **options: str) -> str:
        """Run a command that must succeed, and return its standard output."""
        done = self.run(*argv, **options)
        assert done.returncode == 0, f"{argv}\n{done.stdout[-4000:]}\n{done.stderr[-4000:]}"
        return done.stdout

    def url(self, port: str) -> str:
        return f"http://127.0.0.1:{self.exported[port]}"

    def health(self) -> dict:
        return json.loads(self.run("inv", "health", "--json").stdout)

    def start_times(self) -> dict[str, str]:
        """Return the start time of each service, without init jobs, which every `up` runs."""
        rows = self.health()["services"]
        return {row["name"]: row["since"] for row in rows if row["state"] == "running"}

    def settings(self) -> dict[str, str]:
        """Return the settings in .env, or an empty dict if the file does not exist yet."""
        path = self.folder / ".env"
        lines = path.read_text().splitlines() if path.exists() else []
        pairs = (line.split("=", 1) for line in lines if "=" in line and line[0] != "#")
        return dict(pairs)

    def setting(self, name: str) -> str:
        return self.settings()[name]

    def add_dags(self, *names: str) -> None:
        """Copy DAG files from tests/e2e/dags into the clone's dags/."""
        for name in names:
            shutil.copy2(ROOT / "tests/e2e/dags" / f"{name}.py", self.folder / "dags")

    def exec_in(self, service: str, *argv: str) -> str:
        """Run a command in a service's container, and return its output."""
        return self.run_ok("docker", "exec", self.container(service), *argv)

    def container(self, service: str) -> str:
        """Return the ID of a service's container. The name of a replaced worker changes."""
        label = f"label=com.docker.compose.service={service}"
        return self.containers("--all", "--filter", label, "--quiet").split()[0]

    def state_folder(self) -> Path:
        """Return the folder of the standalone engine's environments, data, sockets and logs."""
        # If root owns the clone, PostgreSQL could not enter it, as it never runs as root.
        if os.getuid():
            return self.folder / ".state"
        return Path("/var/lib/mlops-stack") / self.setting("COMPOSE_PROJECT_NAME")

    def supervisor(self) -> str:
        """Return the address of the standalone engine's supervisord."""
        return f"unix://{self.state_folder()}/run/supervisor.sock"

    def processes(self) -> list[psutil.Process]:
        """Return the standalone engine's processes, which have its address in a variable."""
        processes, address = [], self.supervisor()
        for process in psutil.process_iter():
            try:
                if process.environ().get("SUPERVISOR_SERVER_URL") == address:
                    processes.append(process)
            except psutil.Error:
                continue
        return processes

    def containers(self, *options: str) -> str:
        """Return the output of `docker ps` with `options` for this clone's containers."""
        project = f"label=com.docker.compose.project={self.setting('COMPOSE_PROJECT_NAME')}"
        return self.run_ok("docker", "ps", "--filter", project, *options)

    def run_client(self, code: str) -> str:
        """Run Python with MLflow's client but none of our code, and return its output."""
        if self.engine == "docker":
            return self.exec_in(
                "airflow-scheduler", "python", "-c", f"import os; os.chdir('/'); {code}"
            )
        python = self.state_folder() / "envs/airflow/bin/python"
        # A container already has these variables.
        environment = {
            "MLFLOW_TRACKING_URI": self.url("MLFLOW_PORT"),
            "MLFLOW_TRACKING_USERNAME": "worker",
            "MLFLOW_TRACKING_PASSWORD": self.setting("MLFLOW_WORKER_PASSWORD"),
        }
        return self.run_ok(str(python), "-c", code, **environment)

    def credentials(self, name: str = "status") -> tuple[str, str]:
        """Return name and password of an MLflow account, by default of the read-only one."""
        passwords = {"admin": "MLFLOW_ADMIN_PASSWORD", "worker": "MLFLOW_WORKER_PASSWORD"}
        return name, self.setting(passwords.get(name, "STATUS_PASSWORD"))

    def mlflow(self, method: str, path: str, name: str = "status", **options) -> requests.Response:
        """Send a request to MLflow's API as one of its accounts, and return the response."""
        address = f"{self.url('MLFLOW_PORT')}/api/2.0/mlflow/{path}"
        return requests.request(method, address, auth=self.credentials(name), timeout=30, **options)

    def status_page(self) -> dict[str, dict]:
        """Return the entries of `services` and `work` in the page's status.json, by name."""
        document = requests.get(self.url("STATUS_PORT") + "/status.json", timeout=10).json()
        return {entry["name"]: entry for entry in [*document["services"], *document["work"]]}

    def run_as_status(self, code: str) -> subprocess.CompletedProcess:
        """Run Python with the environment, accounts and packages of the status page."""
        if self.engine == "docker":
            return self.run("docker", "exec", self.container("status"), "python", "-c", code)
        password, sockets = self.setting("STATUS_PASSWORD"), self.state_folder() / "sockets"
        database = f"postgresql://status:{password}@/airflow?host={sockets}"
        python = self.state_folder() / "envs/status/bin/python"
        return self.run(str(python), "-c", code, DATABASE_URL=database)

    def alias(self, name: str) -> dict | None:
        """Return the version of the model `flight-delay` that has an alias, or None."""
        params = {"name": "flight-delay", "alias": name}
        response = self.mlflow("GET", "registered-models/alias", params=params)
        # If the model does not exist, MLflow answers with 403 and no JSON.
        return response.json().get("model_version") if response.status_code != 403 else None

    def await_runs(self, dag_id: str, seconds: float) -> list[dict]:
        """Wait until a DAG has runs and all of them have finished, and return them."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            runs = self.airflow(f"/api/v2/dags/{dag_id}/dagRuns?limit=100")["dag_runs"]
            if {run["state"] for run in runs} in ({"success"}, {"failed"}, {"success", "failed"}):
                return runs
            time.sleep(2)
        raise AssertionError(f"{dag_id} never ran or is still running: {runs}")

    def latest_versions(self) -> list[dict]:
        """Return the newest version of each model in MLflow's registry."""
        models = self.mlflow("GET", "registered-models/search").json().get("registered_models", [])
        return [version for model in models for version in model.get("latest_versions", [])]

    def airflow(self, path: str, timeout: float = 10) -> dict:
        """Return the answer of Airflow's API to the account in .env."""
        return self.session().get(self.url("AIRFLOW_PORT") + path, timeout=timeout).json()

    def session(self) -> requests.Session:
        """Log in to Airflow's API with the account in .env, and return the session."""
        login = {"username": "airflow", "password": self.setting("_AIRFLOW_WWW_USER_PASSWORD")}
        address, session = self.url("AIRFLOW_PORT"), requests.Session()
        token = requests.post(f"{address}/auth/token", json=login, timeout=30).json()
        session.headers["Authorization"] = f"Bearer {token['access_token']}"
        return session

    def remove(self) -> None:
        """Stop the stack and delete its data, environments and images."""
        self.run_ok("inv", "down", "--volumes", "--yes")
        CLONES.remove(self)
        if self.engine == "standalone":
            shutil.rmtree(self.state_folder())
            return
        project = self.setting("COMPOSE_PROJECT_NAME")
        images = [f"{project}-{name}" for name in ("airflow", "mlflow", "status", "tls")]
        self.run("docker", "image", "rm", *images)


def until(condition: Callable[[], bool], seconds: float, pause: float = 0.5) -> None:
    """Wait until a condition is true, checked every `pause` seconds. Fail after `seconds`."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(pause)


def free_ports() -> dict[str, str]:
    return dict(zip(PORTS, map(str, ports.free(len(PORTS))), strict=True))


def fresh_copy(folder: Path, engine: str, kind: type[Clone] = Clone) -> Clone:
    """Copy the files of this checkout that git does not ignore, and choose free ports."""
    copy_repository(folder)
    folder.chmod(0o755)
    clone = kind(folder, {**free_ports(), "STACK_ENGINE": engine})
    CLONES.append(clone)
    return clone


def reachable_copy(folder: Path, engine: str) -> Clone:
    """Make a fresh copy below a folder of pytest that services of other users can enter."""
    clone = fresh_copy(folder / "clone", engine)
    for parent in (folder, folder.parent):
        parent.chmod(0o755)
    return clone
