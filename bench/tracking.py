"""MLflow by itself: runs logged from several threads, a large artifact, a search among many runs.

Whatever else a stack has is stopped meanwhile. The client asks by HTTP from this machine, the same
for both stacks; ours is asked with an account, as tasks ask it, stock has none.
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
from bench.measures import Told
from bench.stacks import Containers

THREADS = 4
METRICS = 100
# Not measured: each of the server's processes imports more when it is asked first.
FIRST_RUNS = 40
ARTIFACT_BYTES = 200_000_000
CHUNK_BYTES = 1 << 20
FILL = Path(__file__).with_name("stored_runs.sql")
SEARCH = {
    "filter": "metrics.metric_1 > 0.5 and params.param_1 != '3'",
    "order_by": ["metrics.metric_2 DESC"],
    # What a client asks for at once.
    "max_results": 1000,
}


def tracks(stack: Containers, effort: Effort) -> Iterator[Told]:
    """Runs a second, seconds for artifacts and searches, and the memory that all of it took."""
    stack.down(volumes=True)
    try:
        stack.up_tracking()
        experiment = Client(stack).experiment()
        logged_runs(stack, experiment, FIRST_RUNS)
        before, count = stack.cpu(), effort.logged_runs
        yield stack.column, {"runs with 100 metrics": logged_runs(stack, experiment, count)}
        after = stack.cpu()
        for name, service in (("MLflow", "mlflow"), ("database", stack.database)):
            each = (after[service] - before[service]) / count
            yield stack.column, {f"runs with 100 metrics: CPU of {name} each": each}
        yield stack.column, artifacts(Client(stack), experiment, effort.repeats)
        yield stack.column, searches(stack, Client(stack), effort.searches)
        yield stack.column, {"MLflow's memory": stack.memory()["mlflow"]}
    finally:
        stack.down(volumes=True)


class Client:
    """MLflow's API over one connection."""

    def __init__(self, stack: Containers) -> None:
        self.address = f"{stack.tracking}/api/2.0"
        self.session = requests.Session()
        self.session.auth = stack.tracking_account

    def ask(self, path: str, **body: Any) -> dict[str, Any]:
        """An answer; raises for one that is an error."""
        answer = self.session.post(f"{self.address}/mlflow/{path}", json=body, timeout=120)
        assert answer.ok, f"{path}: {answer.status_code} {answer.text[:500]}"
        return answer.json()

    def experiment(self) -> str:
        """The id of a new one."""
        return self.ask("experiments/create", name=f"bench {time.time_ns()}")["experiment_id"]

    def run(self, experiment: str) -> dict[str, Any]:
        """What MLflow tells of a new run."""
        start = time.time_ns() // 10**6
        made = self.ask("runs/create", experiment_id=experiment, start_time=start)
        return made["run"]["info"]

    def logged(self, experiment: str) -> None:
        """A whole run, with its metrics at once, as a task logs them."""
        now, run = time.time_ns() // 10**6, self.run(experiment)["run_id"]
        metrics = [
            {"key": f"metric_{number}", "value": number / METRICS, "timestamp": now, "step": 0}
            for number in range(METRICS)
        ]
        self.ask("runs/log-batch", run_id=run, metrics=metrics)
        self.ask("runs/update", run_id=run, status="FINISHED", end_time=now)


def logged_runs(stack: Containers, experiment: str, count: int) -> float:
    """How many a second, from threads with a connection each."""

    def some(client: Client) -> None:
        for _ in range(count // THREADS):
            client.logged(experiment)

    clients = [Client(stack) for _ in range(THREADS)]
    began = time.monotonic()
    with ThreadPoolExecutor(THREADS) as pool:
        list(pool.map(some, clients))
    return count // THREADS * THREADS / (time.monotonic() - began)


def artifacts(client: Client, experiment: str, repeats: int) -> dict[str, float]:
    """Seconds for a large file up and down again, through MLflow."""
    folder = client.run(experiment)["artifact_uri"].removeprefix("mlflow-artifacts:/").lstrip("/")
    up, down = [], []
    with tempfile.NamedTemporaryFile() as file:
        for _ in range(ARTIFACT_BYTES // CHUNK_BYTES):
            file.write(os.urandom(CHUNK_BYTES))
        file.write(os.urandom(ARTIFACT_BYTES % CHUNK_BYTES))
        file.flush()
        for number in range(repeats):
            path = f"{client.address}/mlflow-artifacts/artifacts/{folder}/large-{number}"
            up.append(sent(client, path, Path(file.name)))
            down.append(received(client, path))
    return {"200 MB artifact up": median(up), "200 MB artifact down": median(down)}


def sent(client: Client, path: str, file: Path) -> float:
    """Seconds until MLflow has taken a file."""
    began = time.monotonic()
    with file.open("rb") as body:
        client.session.put(path, data=body, timeout=300).raise_for_status()
    return time.monotonic() - began


def received(client: Client, path: str) -> float:
    """Seconds until all of it is here."""
    began, size = time.monotonic(), 0
    with client.session.get(path, stream=True, timeout=300) as answer:
        answer.raise_for_status()
        for chunk in answer.iter_content(CHUNK_BYTES):
            size += len(chunk)
    assert size == ARTIFACT_BYTES, size
    return time.monotonic() - began


def searches(stack: Containers, client: Client, repeats: int) -> dict[str, float]:
    """Seconds of a search with a filter and an order over metrics, among ten thousand runs."""
    experiment = client.experiment()
    stack.fill(FILL.read_text().replace(":experiment", experiment))
    took = []
    # The first one finds empty caches.
    for _ in range(1 + repeats):
        began = time.monotonic()
        found = client.ask("runs/search", experiment_ids=[experiment], **SEARCH)
        took.append(time.monotonic() - began)
        assert len(found["runs"]) == SEARCH["max_results"], len(found["runs"])
    return {"search among 10,000 runs": median(took[1:]),
            "search among 10,000 runs: first": took[0]}  # fmt: skip
