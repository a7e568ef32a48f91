"""Start the stock stack: Airflow's services with their default settings."""

import os
import subprocess
from contextlib import suppress
from pathlib import Path

import requests

from bench.stacks import Containers, Ours
from orchestration.engines.docker.containers import SERVICE_LABEL
from orchestration.settings.model import INHERITED
from tests.e2e.clone import SERVICES, until
from tests.support.repository import ROOT

START_SECONDS = 900


class Stock(Containers):
    """The services of Airflow's own Compose file, on the images of `ours`."""

    name = column = "stock"
    database, psql = "mlflow-postgres", "psql -U mlflow mlflow"

    def __init__(self, ours: Ours, folder: Path) -> None:
        self.project, self.dags, self.url = f"{ours.project}-stock", folder, ours.url
        self.account = {"username": "airflow", "password": "airflow"}  # pragma: allowlist secret
        folder.mkdir(parents=True, exist_ok=True)
        self.settings = {
            "COMPOSE_PROJECT_NAME": self.project,
            "AIRFLOW_IMAGE": f"{ours.project}-airflow",
            "DAGS": str(folder),
            "MLFLOW_IMAGE": f"{ours.project}-mlflow",
            "AIRFLOW_PORT": ours.clone.exported["AIRFLOW_PORT"],
            "MLFLOW_PORT": ours.clone.exported["MLFLOW_PORT"],
        }
        self.tracking = ours.tracking
        for name in ("AIRFLOW_UID", "POSTGRES_IMAGE", "REDIS_IMAGE"):
            self.settings[name] = ours.clone.setting(name)

    def compose(self, *arguments: str) -> str:
        """Run a Compose command and return its output. Raise with the output if it fails."""
        argv = ("docker", "compose", "-f", str(ROOT / "bench/stock.yaml"), *arguments)
        inherited = {name: value for name, value in os.environ.items() if INHERITED.match(name)}
        environment = {**inherited, **self.settings}
        done = subprocess.run(argv, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{argv}\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}"
        return done.stdout

    def up(self) -> None:
        # `--wait` fails when an init job exits, even with success. Check the services instead.
        self.compose("up", "-d")
        until(self._healthy, START_SECONDS)

    def _healthy(self) -> bool:
        label = f"com.docker.compose.project={self.project}"
        containers = self.sdk.api.containers(filters={"label": label})
        healthy = {c["Labels"][SERVICE_LABEL] for c in containers if "(healthy)" in c["Status"]}
        return healthy == SERVICES["docker"] - {"mlflow", "status"}

    def up_tracking(self) -> None:
        self.compose("--profile", "mlflow", "up", "-d", "mlflow")
        until(self._tracking_ready, START_SECONDS)

    def _tracking_ready(self) -> bool:
        path = f"{self.tracking}/api/2.0/mlflow/experiments/search"
        with suppress(requests.RequestException):
            return requests.post(path, json={"max_results": 1}, timeout=30).ok
        return False

    def down(self, *, volumes: bool = False) -> None:
        self.compose("--profile", "mlflow", "down", *(["--volumes"] if volumes else []))
