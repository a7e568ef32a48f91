"""A stack at work: chains, mapped tasks, many runs at once, DAGs that change.

Times in seconds as Airflow recorded them, not as they were polled.
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
from bench.measures import Told
from bench.stacks import Stack
from tests.e2e.clone import until

DAGS = Path(__file__).with_name("dags")
RUN_SECONDS = 1200
RUNS_AT_ONCE = 50
LOOK_SECONDS, ASK_SECONDS = 5, 2
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


def loads(stack: Stack, effort: Effort) -> Iterator[Told]:
    """From trigger to success, and the most memory meanwhile."""
    with added(stack), stack.running():
        for dag in ("chain_of_10", "mapped_100", "mapped_1000", "single", "edited"):
            until(lambda dag=dag: told_of(stack, dag), 400)
        took(stack, "chain_of_10")
        with peak(stack) as most:
            chains = median(took(stack, "chain_of_10") for _ in range(effort.repeats))
            yield stack.column, {"chain of 10": chains}
            before = stack.cpu()
            hundreds = median(took(stack, "mapped_100") for _ in range(effort.repeats))
            yield stack.column, {"100 mapped tasks": hundreds}
            used = {
                name: (value - before.get(name, 0)) / effort.repeats
                for name, value in stack.cpu().items()
            }
            told = {f"100 mapped tasks: CPU of {name}": value for name, value in used.items()}
            yield stack.column, told
            yield stack.column, {"50 runs at once": took(stack, "single", runs=RUNS_AT_ONCE)}
            yield stack.column, {"peak memory under load": most()}
        edits = median(seen(stack, number) for number in range(effort.repeats))
        yield stack.column, {"DAG edit until it is seen": edits}
        if effort.thousand:
            yield stack.column, {"1,000 mapped tasks": took(stack, "mapped_1000")}


@contextmanager
def added(stack: Stack) -> Iterator[None]:
    """These DAGs are among the stack's, from before it starts: stock looks for new ones late."""
    names = [file.name for file in DAGS.glob("*.py")]
    try:
        for name in names:
            shutil.copy2(DAGS / name, stack.dags)
        (stack.dags / "edited.py").write_text(EDITED.format(tag="at-first"))
        yield
    finally:
        for name in (*names, "edited.py"):
            (stack.dags / name).unlink(missing_ok=True)


def took(stack: Stack, dag: str, *, runs: int = 1) -> float:
    """Seconds from the first run's making to the last one's success."""
    ids = [stack.ask(f"/dags/{dag}/dagRuns", "POST", logical_date=None)["dag_run_id"]
           for _ in range(runs)]  # fmt: skip
    ended = [ended_run(stack, f"/dags/{dag}/dagRuns/{run_id}") for run_id in ids]
    assert {one["state"] for one in ended} == {"success"}, ended
    began = min(datetime.fromisoformat(one["queued_at"]) for one in ended)
    last = max(datetime.fromisoformat(one["end_date"]) for one in ended)
    return (last - began).total_seconds()


def ended_run(stack: Stack, path: str) -> dict:
    """A run that has ended.

    Asked for alone and seldom: for each run that it tells of, Airflow loads all of its tasks.
    """
    deadline = time.monotonic() + RUN_SECONDS
    while not (run := stack.ask(path))["end_date"]:
        assert time.monotonic() < deadline, f"{path} has not ended"
        time.sleep(ASK_SECONDS)
    return run


def seen(stack: Stack, number: int) -> float:
    """Seconds from a change of a DAG's file until Airflow tells of it."""
    # Wherever in its rounds the dag-processor is.
    time.sleep(7 * number)
    tag, began = f"at-{time.time_ns()}", time.monotonic()
    (stack.dags / "edited.py").write_text(EDITED.format(tag=tag))
    until(lambda: tag in tags(stack), 400, pause=0.1)
    return time.monotonic() - began


def tags(stack: Stack) -> list[str]:
    """The tags of the DAG that is edited; none while it is not known."""
    return [tag["name"] for tag in told_of(stack, "edited").get("tags", [])]


def told_of(stack: Stack, dag: str) -> dict:
    """What Airflow tells of a DAG; nothing where it does not know of it."""
    try:
        return stack.ask(f"/dags/{dag}")
    except requests.HTTPError as error:
        if error.response.status_code != 404:
            raise
        return {}


@contextmanager
def peak(stack: Stack) -> Iterator[Callable[[], float]]:
    """Look at a stack's memory again and again; what is yielded tells the most, in MiB.

    Seldom: looking costs time that what is measured would have.
    """
    ended, held = threading.Event(), [0.0]

    def look() -> None:
        while not ended.wait(LOOK_SECONDS):
            held.append(sum(stack.memory().values()))

    looking = threading.Thread(target=look, daemon=True)
    looking.start()
    try:
        yield lambda: max(held)
    finally:
        ended.set()
        looking.join()
