"""What the stacks that are compared have in common, and this one with Docker."""

import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import cached_property
from pathlib import Path
from typing import Any

import docker
import psutil
import requests
from docker.models.containers import Container

from orchestration.engines.docker.containers import SERVICE_LABEL
from tests.e2e.clone import Clone

MIB = 1024**2
# Of a container's memory, in cgroups of version 1 and 2: what is in no file.
ANONYMOUS = ("total_rss", "anon")


class Stack:
    """What all of them have: DAGs in a folder, Airflow's API, processes that use the machine."""

    name: str
    dags: Path
    url: str
    account: Mapping[str, str]
    # Whose column its figures stand in.
    column: str

    def up(self) -> None:
        """Start, and return once it says that it is ready; raises where it does not."""
        raise NotImplementedError

    def down(self, *, volumes: bool = False) -> None:
        """Stop, with its data where that is asked for."""
        raise NotImplementedError

    @contextmanager
    def running(self) -> Iterator[None]:
        """Up for a while, and down afterwards, whatever happens meanwhile."""
        try:
            self.up()
            self.forget_login()
            yield
        finally:
            self.down()

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
    # MLflow by itself: where it answers, as whom, its database's service and how that takes SQL.
    tracking: str
    tracking_account: tuple[str, str] | None = None
    database: str
    psql: str

    def up_tracking(self) -> None:
        """MLflow and its database alone, ready."""
        raise NotImplementedError

    @cached_property
    def sdk(self) -> docker.DockerClient:
        return docker.from_env(timeout=60)

    def containers(self, *labels: str) -> list[Container]:
        """Its running ones, those with all of these labels."""
        wanted = [f"com.docker.compose.project={self.project}", *labels]
        return self.sdk.containers.list(filters={"label": wanted}, ignore_removed=True)

    def _stats(self) -> Iterator[tuple[str, Mapping[str, Any]]]:
        for container in self.containers():
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

    def fill(self, sql: str) -> None:
        """Run SQL on MLflow's database; raises with what PostgreSQL said where it fails."""
        [container] = self.containers(f"{SERVICE_LABEL}={self.database}")
        command = ("sh", "-c", f"{self.psql} -qv ON_ERROR_STOP=1")
        argv = ("docker", "exec", "-i", container.id, *command)
        done = subprocess.run(argv, input=sql, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr[-2000:]


class Cloned(Stack):
    """This stack, from a clone of its own."""

    def __init__(self, clone: Clone) -> None:
        self.clone = clone
        clone.well("inv", "install")
        self.dags, self.url = clone.folder / "dags", clone.url("AIRFLOW_PORT")
        password = clone.setting("_AIRFLOW_WWW_USER_PASSWORD")
        self.account = {"username": "airflow", "password": password}

    def up(self) -> None:
        self.clone.well("inv", "up", "--no-proof")

    def down(self, *, volumes: bool = False) -> None:
        self.clone.well("inv", "down", *(["--volumes", "--yes"] if volumes else []))


class Ours(Cloned, Containers):
    """This stack with Docker."""

    name = column = "ours"
    database = "postgres"
    psql = "PGPASSWORD=$POSTGRES_PASSWORD psql -h 127.0.0.1 -U postgres mlflow"

    def __init__(self, clone: Clone) -> None:
        super().__init__(clone)
        self.project = clone.setting("COMPOSE_PROJECT_NAME")
        self.tracking, self.tracking_account = clone.url("MLFLOW_PORT"), clone.login("worker")

    def up_tracking(self) -> None:
        self.up()
        for container in self.containers():
            if container.labels[SERVICE_LABEL] not in ("mlflow", self.database):
                container.stop()


def engine_cpu() -> float:
    """Seconds of a processor that Docker's own processes have used, checks that ended included."""
    used = 0.0
    for process in psutil.process_iter(["name"]):
        with suppress(psutil.Error):
            if process.info["name"].startswith(("dockerd", "containerd")):
                used += sum(process.cpu_times()[:4])
    return used
