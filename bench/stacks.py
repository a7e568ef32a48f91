"""Define what the compared stacks have in common, and this stack with Docker."""

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
# Keys of a container's memory without page cache, in cgroups of version 1 and 2.
ANONYMOUS = ("total_rss", "anon")


class Stack:
    """A stack with DAGs in a folder, Airflow's API, and services that use the machine."""

    name: str
    dags: Path
    url: str
    account: Mapping[str, str]
    # The column of its figures.
    column: str

    def up(self) -> None:
        """Start the stack, and return when it is ready. Raise if it does not become ready."""
        raise NotImplementedError

    def down(self, *, volumes: bool = False) -> None:
        """Stop the stack, and delete its data if `volumes` is set."""
        raise NotImplementedError

    @contextmanager
    def running(self) -> Iterator[None]:
        """Start the stack, and stop it at the end, even after an exception."""
        try:
            self.up()
            self.drop_session()
            yield
        finally:
            self.down()

    def cpu(self) -> dict[str, float]:
        """Return the CPU seconds that each service has used since its start."""
        raise NotImplementedError

    def memory(self) -> dict[str, float]:
        """Return the MiB that each service uses now, without page cache."""
        raise NotImplementedError

    @cached_property
    def session(self) -> requests.Session:
        """Log in to Airflow and return the session."""
        session = requests.Session()
        login = session.post(f"{self.url}/auth/token", json=self.account, timeout=30)
        session.headers["Authorization"] = f"Bearer {login.json()['access_token']}"
        return session

    def request(self, path: str, method: str = "GET", **body: Any) -> dict[str, Any]:
        """Send a request to Airflow's API and return its answer. Raise if it is an error."""
        options = {"json": body} if body else {}
        answer = self.session.request(method, f"{self.url}/api/v2{path}", timeout=60, **options)
        answer.raise_for_status()
        return answer.json()

    def drop_session(self) -> None:
        """Use a new token for the next request."""
        self.__dict__.pop("session", None)


class Containers(Stack):
    """A Compose stack, whose usage comes from its containers."""

    project: str
    # MLflow alone: its address and account, its database's service, and the psql command there.
    tracking: str
    tracking_account: tuple[str, str] | None = None
    database: str
    psql: str

    def up_tracking(self) -> None:
        """Start MLflow and its database alone, and return when they are ready."""
        raise NotImplementedError

    @cached_property
    def sdk(self) -> docker.DockerClient:
        return docker.from_env(timeout=60)

    def containers(self, *labels: str) -> list[Container]:
        """Return the running containers that have all of these labels."""
        labels = (f"com.docker.compose.project={self.project}", *labels)
        return self.sdk.containers.list(filters={"label": list(labels)}, ignore_removed=True)

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
            name: next(stats["memory_stats"]["stats"][key] for key in ANONYMOUS
                       if key in stats["memory_stats"]["stats"]) / MIB
            for name, stats in self._stats()
        }  # fmt: skip

    def run_sql(self, sql: str) -> None:
        """Run SQL on MLflow's database. Raise with PostgreSQL's message if it fails."""
        [container] = self.containers(f"{SERVICE_LABEL}={self.database}")
        command = ("sh", "-c", f"{self.psql} -qv ON_ERROR_STOP=1")
        argv = ("docker", "exec", "-i", container.id, *command)
        done = subprocess.run(argv, input=sql, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr[-2000:]


class ClonedStack(Stack):
    """This stack, from a clone of its own."""

    def __init__(self, clone: Clone) -> None:
        self.clone = clone
        clone.run_ok("inv", "install")
        self.dags, self.url = clone.folder / "dags", clone.url("AIRFLOW_PORT")
        password = clone.setting("_AIRFLOW_WWW_USER_PASSWORD")
        self.account = {"username": "airflow", "password": password}

    def up(self) -> None:
        self.clone.run_ok("inv", "up", "--no-proof")

    def down(self, *, volumes: bool = False) -> None:
        self.clone.run_ok("inv", "down", *(["--volumes", "--yes"] if volumes else []))


class Ours(ClonedStack, Containers):
    """This stack with Docker."""

    name = column = "ours"
    database = "postgres"
    psql = "PGPASSWORD=$POSTGRES_PASSWORD psql -h 127.0.0.1 -U postgres mlflow"

    def __init__(self, clone: Clone) -> None:
        super().__init__(clone)
        self.project = clone.setting("COMPOSE_PROJECT_NAME")
        self.tracking = clone.url("MLFLOW_PORT")
        self.tracking_account = clone.credentials("worker")

    def up_tracking(self) -> None:
        self.up()
        for container in self.containers():
            if container.labels[SERVICE_LABEL] not in ("mlflow", self.database):
                container.stop()


def engine_cpu() -> float:
    """Return the CPU seconds of Docker's own processes, including health checks that exited."""
    used = 0.0
    for process in psutil.process_iter(["name"]):
        with suppress(psutil.Error):
            if process.info["name"].startswith(("dockerd", "containerd")):
                used += sum(process.cpu_times()[:4])
    return used
