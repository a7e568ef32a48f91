"""Measure MLflow alone: log runs from several threads, transfer a large artifact, search many runs.

All other services are stopped. The client uses HTTP from this machine, in the same way for both
stacks. Ours is used with an account, as tasks use it. Stock has no accounts.
"""

import os
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import median
from typing import Any

import requests

from bench.effort import Effort
from bench.measures import Measurement
from bench.stacks import Containers

THREADS = 4
METRICS = 100
# Not measured, because each server process imports more modules at its first request.
FIRST_RUNS = 40
ARTIFACT_BYTES = 200_000_000
CHUNK_BYTES = 1 << 20
FILL = Path(__file__).with_name("stored_runs.sql")
SEARCH = {
    "filter": "metrics.metric_1 > 0.5 and params.param_1 != '3'",
    "order_by": ["metrics.metric_2 DESC"],
    # The page size of a client.
    "max_results": 1000,
}


def mlflow_requests(stack: Containers, effort: Effort) -> Iterator[Measurement]:
    """Yield runs per second, seconds for artifacts and searches, and the memory used."""
    stack.down(volumes=True)
    try:
        stack.up_tracking()
        experiment = Client(stack).create_experiment()
        runs_per_second(stack, experiment, FIRST_RUNS)
        before, count = stack.cpu(), effort.logged_runs
        yield stack.column, {"runs with 100 metrics": runs_per_second(stack, experiment, count)}
        after = stack.cpu()
        for name, service in (("MLflow", "mlflow"), ("database", stack.database)):
            each = (after[service] - before[service]) / count
            yield stack.column, {f"runs with 100 metrics: CPU of {name} each": each}
        yield stack.column, artifact_seconds(Client(stack), experiment, effort.repeats)
        yield stack.column, search_seconds(stack, Client(stack), effort.searches)
        yield stack.column, {"MLflow's memory": stack.memory()["mlflow"]}
    finally:
        stack.down(volumes=True)


class Client:
    """MLflow's API over one connection."""

    def __init__(self, stack: Containers) -> None:
        self.address = f"{stack.tracking}/api/2.0"
        self.session = requests.Session()
        self.session.auth = stack.tracking_account

    def request(self, path: str, **body: Any) -> dict[str, Any]:
        """Send a request and return the answer. Raise if it is an error."""
        answer = self.session.post(f"{self.address}/mlflow/{path}", json=body, timeout=120)
        assert answer.ok, f"{path}: {answer.status_code} {answer.text[:500]}"
        return answer.json()

    def create_experiment(self) -> str:
        """Create an experiment and return its ID."""
        return self.request("experiments/create", name=f"bench {time.time_ns()}")["experiment_id"]

    def create_run(self, experiment: str) -> dict[str, Any]:
        """Create a run and return its info."""
        start = time.time_ns() // 10**6
        answer = self.request("runs/create", experiment_id=experiment, start_time=start)
        return answer["run"]["info"]

    def log_run(self, experiment: str) -> None:
        """Log a whole run with its metrics in one request, as a task does."""
        now, run = time.time_ns() // 10**6, self.create_run(experiment)["run_id"]
        metrics = [
            {"key": f"metric_{number}", "value": number / METRICS, "timestamp": now, "step": 0}
            for number in range(METRICS)
        ]
        self.request("runs/log-batch", run_id=run, metrics=metrics)
        self.request("runs/update", run_id=run, status="FINISHED", end_time=now)


def runs_per_second(stack: Containers, experiment: str, count: int) -> float:
    """Log `count` runs from threads with a connection each, and return the rate."""

    def log_share(client: Client) -> None:
        for _ in range(count // THREADS):
            client.log_run(experiment)

    clients = [Client(stack) for _ in range(THREADS)]
    began = time.monotonic()
    with ThreadPoolExecutor(THREADS) as pool:
        list(pool.map(log_share, clients))
    return count // THREADS * THREADS / (time.monotonic() - began)


def artifact_seconds(client: Client, experiment: str, repeats: int) -> dict[str, float]:
    """Return the seconds of an upload and a download of a large file through MLflow."""
    uri = client.create_run(experiment)["artifact_uri"]
    folder = uri.removeprefix("mlflow-artifacts:/").lstrip("/")
    up, down = [], []
    with tempfile.NamedTemporaryFile() as file:
        for _ in range(ARTIFACT_BYTES // CHUNK_BYTES):
            file.write(os.urandom(CHUNK_BYTES))
        file.write(os.urandom(ARTIFACT_BYTES % CHUNK_BYTES))
        file.flush()
        for number in range(repeats):
            path = f"{client.address}/mlflow-artifacts/artifacts/{folder}/large-{number}"
            up.append(upload_seconds(client, path, Path(file.name)))
            down.append(download_seconds(client, path))
    return {"200 MB artifact up": median(up), "200 MB artifact down": median(down)}


def upload_seconds(client: Client, path: str, file: Path) -> float:
    """Upload a file and return the seconds until MLflow answers."""
    began = time.monotonic()
    with file.open("rb") as body:
        client.session.put(path, data=body, timeout=300).raise_for_status()
    return time.monotonic() - began


def download_seconds(client: Client, path: str) -> float:
    """Download a file and return the seconds until it is complete."""
    began, size = time.monotonic(), 0
    with client.session.get(path, stream=True, timeout=300) as answer:
        answer.raise_for_status()
        for chunk in answer.iter_content(CHUNK_BYTES):
            size += len(chunk)
    assert size == ARTIFACT_BYTES, size
    return time.monotonic() - began


def search_seconds(stack: Containers, client: Client, repeats: int) -> dict[str, float]:
    """Return the seconds of a search over ten thousand runs, filtered and ordered by metrics."""
    experiment = client.create_experiment()
    stack.run_sql(FILL.read_text().replace(":experiment", experiment))
    seconds = []
    # The first search, with empty caches, is reported as a part.
    for _ in range(1 + repeats):
        began = time.monotonic()
        answer = client.request("runs/search", experiment_ids=[experiment], **SEARCH)
        seconds.append(time.monotonic() - began)
        assert len(answer["runs"]) == SEARCH["max_results"], len(answer["runs"])
    return {"search among 10,000 runs": median(seconds[1:]),
            "search among 10,000 runs: first": seconds[0]}  # fmt: skip
