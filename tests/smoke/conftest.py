"""A fresh copy of the repository as a newcomer has it: no .env, own ports, the real engine."""

import json
import os
import shutil
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from signal import SIGHUP, SIGINT

import psutil
import pytest
import requests

ROOT = Path(__file__).resolve().parents[2]
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
ONE_SHOTS = {"docker": {"airflow-init", "mlflow-migrate"}, "standalone": set()}


HUNDRED = """
from datetime import datetime

from airflow.sdk import dag, task


@dag(schedule=None, start_date=datetime(2025, 1, 1), is_paused_upon_creation=False, tags=["test"])
def hundred():
    @task
    def one(number):
        return number

    one.expand(number=list(range(100)))


hundred()
"""


@dataclass
class Clone:
    """A checkout with its own settings, used only through the commands a person types."""

    folder: Path
    exported: dict[str, str]
    first_up: str = ""

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

    def setting(self, name: str) -> str:
        lines = (self.folder / ".env").read_text().splitlines()
        return next(line.split("=", 1)[1] for line in lines if line.startswith(f"{name}="))

    def inside(self, service: str, *argv: str) -> str:
        """Run a command in a service's container; what it printed."""
        container = f"{self.setting('COMPOSE_PROJECT_NAME')}-{service}-1"
        return self.well("docker", "exec", container, *argv)

    def state_folder(self) -> Path:
        """Where the standalone engine keeps everything (for root PostgreSQL must reach it)."""
        if os.getuid():
            return self.folder / ".state"
        return Path("/var/lib/mlops-stack") / self.setting("COMPOSE_PROJECT_NAME")

    def client(self, code: str) -> str:
        """Run Python as somebody with MLflow's client and none of our code; what it printed."""
        if self.exported["STACK_ENGINE"] == "docker":
            return self.inside(
                "airflow-scheduler", "python", "-c", f"import os; os.chdir('/'); {code}"
            )
        python = self.state_folder() / "envs/airflow/bin/python"
        return self.well(str(python), "-c", code, MLFLOW_TRACKING_URI=self.url("MLFLOW_PORT"))

    def alias(self, name: str) -> dict | None:
        """The version of the registered model that holds an alias."""
        address = self.url("MLFLOW_PORT") + "/api/2.0/mlflow/registered-models/alias"
        asked = {"name": "flight-delay", "alias": name}
        return requests.get(address, params=asked, timeout=10).json().get("model_version")

    def await_runs(self, dag_id: str, seconds: float) -> list[dict]:
        """All runs of a DAG, once none is under way."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            runs = self.airflow(f"/api/v2/dags/{dag_id}/dagRuns?limit=100")["dag_runs"]
            if all(run["state"] in ("success", "failed") for run in runs):
                return runs
            time.sleep(3)
        raise AssertionError(f"{dag_id} still runs: {runs}")

    def registered(self) -> list[dict]:
        """The newest version of each model in MLflow's registry."""
        address = self.url("MLFLOW_PORT") + "/api/2.0/mlflow/registered-models/search"
        models = requests.get(address, timeout=10).json().get("registered_models", [])
        return [version for model in models for version in model.get("latest_versions", [])]

    def airflow(self, path: str) -> dict:
        """An answer of Airflow's API, as the account of .env."""
        password = self.setting("_AIRFLOW_WWW_USER_PASSWORD")
        address, login = self.url("AIRFLOW_PORT"), {"username": "airflow", "password": password}
        token = requests.post(f"{address}/auth/token", json=login, timeout=10).json()
        headers = {"Authorization": f"Bearer {token['access_token']}"}
        return requests.get(address + path, headers=headers, timeout=10).json()

    def remove(self) -> None:
        """Take the stack down with its data and what it was built into."""
        self.well("inv", "down", "--volumes", "--yes")
        if self.exported["STACK_ENGINE"] == "standalone":
            shutil.rmtree(self.state_folder())
            return
        project = self.setting("COMPOSE_PROJECT_NAME")
        images = [f"{project}-{name}" for name in ("airflow", "mlflow", "status")]
        self.run("docker", "image", "rm", *images)


def free_ports() -> dict[str, str]:
    probes = [socket.create_server(("127.0.0.1", 0)) for _ in PORTS]
    ports = {name: str(probe.getsockname()[1]) for name, probe in zip(PORTS, probes, strict=True)}
    for probe in probes:
        probe.close()
    return ports


def fresh_copy(folder: Path, engine: str) -> Clone:
    """What git knows of this checkout, laid out in another folder."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        check=True,
    )
    for name in filter(None, listed.stdout.decode().split("\0")):
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if (ROOT / name).is_symlink() or (ROOT / name).exists():
            shutil.copy2(ROOT / name, target, follow_symlinks=False)
    folder.chmod(0o755)
    return Clone(folder, {**free_ports(), "STACK_ENGINE": engine})


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--engine", choices=sorted(SERVICES), required=True)
    parser.addoption("--keep", metavar="FOLDER", help="where test_backfill.py writes its picture")


@pytest.fixture(scope="session")
def engine(request: pytest.FixtureRequest) -> str:
    return request.config.getoption("--engine")


class Receiver(ThreadingHTTPServer):
    """What alerts are sent to: a webhook where the stack's services can reach it."""

    def __init__(self, engine: str) -> None:
        host = psutil.net_if_addrs()["docker0"][0].address if engine == "docker" else "127.0.0.1"
        super().__init__((host, 0), Listening)
        self.texts: list[str] = []
        self.url = f"http://{host}:{self.server_port}/hook"

    def told(self, *words: str) -> list[str]:
        """The alerts that hold all these words."""
        return [text for text in self.texts if all(word in text for word in words)]


class Listening(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.texts.append(json.loads(body)["text"])
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture(scope="session")
def receiver(engine: str) -> Iterator[Receiver]:
    with Receiver(engine) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


@pytest.fixture(scope="session")
def stack(
    tmp_path_factory: pytest.TempPathFactory, engine: str, receiver: Receiver
) -> Iterator[Clone]:
    """A clone that was brought up by `inv up` alone, with its proof; taken away at the end."""
    clone = fresh_copy(tmp_path_factory.mktemp("first") / "clone", engine)
    clone.exported["ALERT_WEBHOOK_URL"] = receiver.url
    (clone.folder / "dags" / "hundred.py").write_text(HUNDRED)
    try:
        clone.first_up = clone.well("inv", "up")
        yield clone
    finally:
        clone.remove()


@pytest.fixture(scope="session")
def second_clone(tmp_path_factory: pytest.TempPathFactory, engine: str) -> Iterator[Clone]:
    """Another clone on other ports, not started yet."""
    clone = fresh_copy(tmp_path_factory.mktemp("second") / "clone", engine)
    clone.well("inv", "install")
    try:
        yield clone
    finally:
        clone.remove()
