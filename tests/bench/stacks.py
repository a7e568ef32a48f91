"""The stacks that are compared, each brought up as a person would, and asked the same things."""

import os
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import Any

import docker
import psutil
import requests

from orchestration.containers import SERVICE_LABEL
from orchestration.settings import PASSED_ON
from tests.smoke.clone import ROOT, SERVICES, Clone, until

MIB = 1024**2
# Of a container's memory, in cgroups of version 1 and 2: what is in no file.
ANONYMOUS = ("total_rss", "anon")
LOST_SECONDS = 900


class Stack:
    """What all of them have: DAGs in a folder, Airflow's API, processes that use the machine."""

    name: str
    dags: Path
    url: str
    account: Mapping[str, str]

    def up(self) -> None:
        """Start, and return once it says that it is ready; raises where it does not."""
        raise NotImplementedError

    def down(self, *, volumes: bool = False) -> None:
        """Stop, with its data where that is asked for."""
        raise NotImplementedError

    def cpu(self) -> dict[str, float]:
        """Seconds of a processor that each service has used since it was started."""
        raise NotImplementedError

    def memory(self) -> dict[str, float]:
        """MiB that each service holds now, without page cache."""
        raise NotImplementedError

    @cached_property
    def session(self) -> requests.Session:
        """Logged in to Airflow."""
        session = requests.Session()
        login = session.post(f"{self.url}/auth/token", json=self.account, timeout=30)
        session.headers["Authorization"] = f"Bearer {login.json()['access_token']}"
        return session

    def ask(self, path: str, method: str = "GET", **body: Any) -> dict[str, Any]:
        """An answer of Airflow's API; raises for one that is an error."""
        given = {"json": body} if body else {}
        answer = self.session.request(method, f"{self.url}/api/v2{path}", timeout=60, **given)
        answer.raise_for_status()
        return answer.json()

    def forget_login(self) -> None:
        """The next answer is asked for with a new token."""
        self.__dict__.pop("session", None)


class Containers(Stack):
    """A stack of Compose: its containers are asked what they use."""

    project: str

    @cached_property
    def sdk(self) -> docker.DockerClient:
        return docker.from_env(timeout=60)

    def _stats(self) -> Iterator[tuple[str, Mapping[str, Any]]]:
        label = f"com.docker.compose.project={self.project}"
        for container in self.sdk.containers.list(filters={"label": label}):
            with suppress(docker.errors.APIError):
                name = container.labels[SERVICE_LABEL]
                yield name, container.stats(stream=False, one_shot=True)

    def cpu(self) -> dict[str, float]:
        used = {n: s["cpu_stats"]["cpu_usage"]["total_usage"] / 1e9 for n, s in self._stats()}
        return {**used, "(the engine)": engine_cpu()}

    def memory(self) -> dict[str, float]:
        return {
            name: next(told["memory_stats"]["stats"][key] for key in ANONYMOUS
                       if key in told["memory_stats"]["stats"]) / MIB
            for name, told in self._stats()
        }  # fmt: skip


class Ours(Containers):
    """This stack with Docker."""

    name = "ours"

    def __init__(self, clone: Clone) -> None:
        self.clone = clone
        clone.well("inv", "install")
        self.project = clone.setting("COMPOSE_PROJECT_NAME")
        self.dags, self.url = clone.folder / "dags", clone.url("AIRFLOW_PORT")
        password = clone.setting("_AIRFLOW_WWW_USER_PASSWORD")
        self.account = {"username": "airflow", "password": password}

    def up(self) -> None:
        self.clone.well("inv", "up", "--no-proof")

    def down(self, *, volumes: bool = False) -> None:
        self.clone.well("inv", "down", *(["--volumes", "--yes"] if volumes else []))


class Stock(Containers):
    """Airflow's services as its own compose file starts them, on the images of `ours`."""

    name = "stock"

    def __init__(self, ours: Ours, folder: Path) -> None:
        self.project, self.dags, self.url = f"{ours.project}-stock", folder, ours.url
        self.account = {"username": "airflow", "password": "airflow"}  # pragma: allowlist secret
        folder.mkdir(parents=True, exist_ok=True)
        self.settings = {
            "COMPOSE_PROJECT_NAME": self.project,
            "AIRFLOW_IMAGE": f"{ours.project}-airflow",
            "DAGS": str(folder),
            "AIRFLOW_PORT": ours.clone.exported["AIRFLOW_PORT"],
        }
        for name in ("AIRFLOW_UID", "POSTGRES_IMAGE", "REDIS_IMAGE"):
            self.settings[name] = ours.clone.setting(name)

    def compose(self, *arguments: str) -> str:
        """A command of Compose on it; raises with what it printed where it fails."""
        argv = ("docker", "compose", "-f", str(ROOT / "tests/bench/stock.yaml"), *arguments)
        inherited = {name: value for name, value in os.environ.items() if PASSED_ON.match(name)}
        environment = {**inherited, **self.settings}
        done = subprocess.run(argv, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{argv}\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}"
        return done.stdout

    def up(self) -> None:
        # With `--wait` Compose fails for a one-shot that ended well: services are asked instead.
        self.compose("up", "-d")
        until(self._healthy, LOST_SECONDS)

    def _healthy(self) -> bool:
        label = f"com.docker.compose.project={self.project}"
        containers = self.sdk.api.containers(filters={"label": label})
        well = {one["Labels"][SERVICE_LABEL] for one in containers if "(healthy)" in one["Status"]}
        return well == SERVICES["docker"] - {"mlflow", "status"}

    def down(self, *, volumes: bool = False) -> None:
        self.compose("down", *(["--volumes"] if volumes else []))


def engine_cpu() -> float:
    """Seconds of a processor that Docker's own processes have used, checks that ended included."""
    used = 0.0
    for process in psutil.process_iter(["name"]):
        with suppress(psutil.Error):
            if process.info["name"].startswith(("dockerd", "containerd")):
                used += sum(process.cpu_times()[:4])
    return used
