"""Measure a stack at work: chains, mapped tasks, many runs at once, edited DAGs.

Durations of runs are in seconds, from the times that Airflow recorded.
"""

import shutil
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from statistics import median

import requests

from bench.effort import Effort
from bench.measures import Measurement
from bench.stacks import Stack
from tests.e2e.clone import until

DAGS = Path(__file__).with_name("dags")
RUN_SECONDS = 1200
RUNS_AT_ONCE = 50
MEMORY_POLL_SECONDS, RUN_POLL_SECONDS = 5, 2
EDITED = """
from datetime import datetime
from airflow.sdk import dag, task
@dag(schedule=None, start_date=datetime(2025, 1, 1), tags=["{tag}"])
def edited():
    @task
    def one(): ...
    one()
edited()
"""


def dag_runs(stack: Stack, effort: Effort) -> Iterator[Measurement]:
    """Yield the durations of DAG runs, the CPU and peak memory they use, and edit delays."""
    with bench_dags(stack), stack.running():
        for dag in ("chain_of_10", "mapped_100", "mapped_1000", "single", "edited"):
            until(lambda dag=dag: dag_details(stack, dag), 400)
        run_seconds(stack, "chain_of_10")
        with peak_memory(stack) as peak:
            chains = median(run_seconds(stack, "chain_of_10") for _ in range(effort.repeats))
            yield stack.column, {"chain of 10": chains}
            before = stack.cpu()
            hundreds = median(run_seconds(stack, "mapped_100") for _ in range(effort.repeats))
            yield stack.column, {"100 mapped tasks": hundreds}
            used = {
                name: (value - before.get(name, 0)) / effort.repeats
                for name, value in stack.cpu().items()
            }
            parts = {f"100 mapped tasks: CPU of {name}": value for name, value in used.items()}
            yield stack.column, parts
            yield stack.column, {"50 runs at once": run_seconds(stack, "single", runs=RUNS_AT_ONCE)}
            yield stack.column, {"peak memory under load": peak()}
        edits = median(edit_seconds(stack, number) for number in range(effort.repeats))
        yield stack.column, {"DAG edit until it is seen": edits}
        if effort.thousand:
            yield stack.column, {"1,000 mapped tasks": run_seconds(stack, "mapped_1000")}


@contextmanager
def bench_dags(stack: Stack) -> Iterator[None]:
    """Add the benchmark's DAGs. Enter before the stack starts: stock looks for new files late."""
    names = [file.name for file in DAGS.glob("*.py")]
    try:
        for name in names:
            shutil.copy2(DAGS / name, stack.dags)
        (stack.dags / "edited.py").write_text(EDITED.format(tag="at-first"))
        yield
    finally:
        for name in (*names, "edited.py"):
            (stack.dags / name).unlink(missing_ok=True)


def run_seconds(stack: Stack, dag: str, *, runs: int = 1) -> float:
    """Run a DAG and return the seconds from the creation of the first run to the last success."""
    ids = [stack.request(f"/dags/{dag}/dagRuns", "POST", logical_date=None)["dag_run_id"]
           for _ in range(runs)]  # fmt: skip
    finished = [wait_for_run(stack, f"/dags/{dag}/dagRuns/{run_id}") for run_id in ids]
    assert {run["state"] for run in finished} == {"success"}, finished
    first = min(datetime.fromisoformat(run["queued_at"]) for run in finished)
    last = max(datetime.fromisoformat(run["end_date"]) for run in finished)
    return (last - first).total_seconds()


def wait_for_run(stack: Stack, path: str) -> dict:
    """Wait until a run has finished, and return it.

    Requests are for one run and rare, because Airflow loads all tasks of each run it returns.
    """
    deadline = time.monotonic() + RUN_SECONDS
    while not (run := stack.request(path))["end_date"]:
        assert time.monotonic() < deadline, f"{path} has not finished"
        time.sleep(RUN_POLL_SECONDS)
    return run


def edit_seconds(stack: Stack, number: int) -> float:
    """Change a DAG file and return the seconds until Airflow's API shows the change."""
    # Start each repetition at another point of the DAG processor's loop.
    time.sleep(7 * number)
    tag, began = f"at-{time.time_ns()}", time.monotonic()
    (stack.dags / "edited.py").write_text(EDITED.format(tag=tag))
    until(lambda: tag in tags(stack), 400, pause=0.1)
    return time.monotonic() - began


def tags(stack: Stack) -> list[str]:
    """Return the tags of the edited DAG, or none if Airflow does not know it."""
    return [tag["name"] for tag in dag_details(stack, "edited").get("tags", [])]


def dag_details(stack: Stack, dag: str) -> dict:
    """Return Airflow's details of a DAG, or an empty dict if it does not know it."""
    try:
        return stack.request(f"/dags/{dag}")
    except requests.HTTPError as error:
        if error.response.status_code != 404:
            raise
        return {}


@contextmanager
def peak_memory(stack: Stack) -> Iterator[Callable[[], float]]:
    """Sample a stack's memory, and yield a function that returns the maximum in MiB.

    Samples are rare, because each takes CPU time from the work that is measured.
    """
    stopped, samples = threading.Event(), [0.0]

    def sample() -> None:
        while not stopped.wait(MEMORY_POLL_SECONDS):
            samples.append(sum(stack.memory().values()))

    sampler = threading.Thread(target=sample, daemon=True)
    sampler.start()
    try:
        yield lambda: max(samples)
    finally:
        stopped.set()
        sampler.join()
