"""What is measured of a stack. Times in seconds as Airflow recorded them, not as they were polled.

Each measure is a function of a stack that is as its slice leaves it; it returns figures by name.
"""

import shutil
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

import psutil
import requests

from tests.bench.report import Figures
from tests.bench.stacks import Stack
from tests.smoke.clone import until

DAGS = Path(__file__).with_name("dags")
SETTLE_SECONDS, IDLE_SECONDS = 60, 180
RUN_SECONDS = 1200
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


def starts(stack: Stack) -> Figures:
    """Up with no data, down, up again with it: seconds, and what all of it used of the machine."""
    told: Figures = {}
    stack.down(volumes=True)
    for name in ("empty", "again"):
        before, began = machine_cpu(), time.monotonic()
        stack.up()
        told[f"up, {name}"] = time.monotonic() - began
        told[f"up, {name}: CPU"] = machine_cpu() - before
        stack.forget_login()
        stack.down()
    return told


def idle(stack: Stack) -> Figures:
    """A processor's share in percent and MiB, by service and in all, while nobody asks anything."""
    time.sleep(SETTLE_SECONDS)
    before, began = stack.cpu(), time.monotonic()
    time.sleep(IDLE_SECONDS)
    used, seconds = stack.cpu(), time.monotonic() - began
    share = {name: 100 * (used[name] - before[name]) / seconds for name in used}
    held = stack.memory()
    return {
        "idle CPU": sum(share[name] for name in share if name != "(the engine)"),
        "idle memory": sum(held.values()),
        **{f"idle CPU: {name}": value for name, value in share.items()},
        **{f"idle memory: {name}": value for name, value in held.items()},
    }


def loads(stack: Stack) -> Figures:
    """Chains, mapped tasks, many runs at once, DAGs that change; and the most memory meanwhile."""
    for file in DAGS.glob("*.py"):
        shutil.copy2(file, stack.dags)
    for dag in ("chain_of_10", "mapped_100", "mapped_1000", "single"):
        until(lambda dag=dag: known(stack, dag), 400)
    took(stack, "chain_of_10")
    with peak(stack) as most:
        told = {"chain of 10": middle(took(stack, "chain_of_10") for _ in range(3))}
        before = stack.cpu()
        told["100 mapped tasks"] = took(stack, "mapped_100")
        after = stack.cpu()
        told |= {f"100 mapped tasks: CPU of {name}": after[name] - before[name] for name in after}
        told["50 runs at once"] = took(stack, "single", runs=50)
        told["1,000 mapped tasks"] = took(stack, "mapped_1000")
    told["peak memory under load"] = most()
    told["DAG edit until it is seen"] = middle(seen(stack, number) for number in range(3))
    return told


def took(stack: Stack, dag: str, *, runs: int = 1) -> float:
    """Seconds from the first run's making to the last one's success."""
    ids = [stack.ask(f"/dags/{dag}/dagRuns", "POST", logical_date=None)["dag_run_id"]
           for _ in range(runs)]  # fmt: skip
    ended = {}
    deadline = time.monotonic() + RUN_SECONDS
    while len(ended) < runs:
        time.sleep(1)
        assert time.monotonic() < deadline, f"{dag}: {len(ended)} of {runs} ended"
        states = stack.ask(f"/dags/{dag}/dagRuns?limit=100&order_by=-run_after")["dag_runs"]
        ended = {one["dag_run_id"]: one for one in states
                 if one["dag_run_id"] in ids and one["end_date"]}  # fmt: skip
    assert {one["state"] for one in ended.values()} == {"success"}, ended
    began = min(datetime.fromisoformat(one["queued_at"]) for one in ended.values())
    last = max(datetime.fromisoformat(one["end_date"]) for one in ended.values())
    return (last - began).total_seconds()


def seen(stack: Stack, number: int) -> float:
    """Seconds from a change of a DAG's file until Airflow tells of it."""
    # Wherever in its rounds the dag-processor is.
    time.sleep(7 * number)
    tag, began = f"at-{time.time_ns()}", time.monotonic()
    (stack.dags / "edited.py").write_text(EDITED.format(tag=tag))
    until(lambda: tag in tags(stack), 400)
    return time.monotonic() - began


def tags(stack: Stack) -> list[str]:
    """The tags of the DAG that is edited; none while it is not known."""
    return [tag["name"] for tag in told_of(stack, "edited").get("tags", [])]


def known(stack: Stack, dag: str) -> bool:
    """Whether Airflow knows of a DAG."""
    return "dag_id" in told_of(stack, dag)


def told_of(stack: Stack, dag: str) -> dict:
    """What Airflow tells of a DAG; nothing where it does not know of it."""
    try:
        return stack.ask(f"/dags/{dag}")
    except requests.HTTPError as error:
        if error.response.status_code != 404:
            raise
        return {}


@contextmanager
def peak(stack: Stack) -> Iterator:
    """Look at a stack's memory every two seconds; what is yielded tells the most, in MiB."""
    ended, held = threading.Event(), [0.0]

    def look() -> None:
        while not ended.wait(2):
            held.append(sum(stack.memory().values()))

    looking = threading.Thread(target=look, daemon=True)
    looking.start()
    try:
        yield lambda: max(held)
    finally:
        ended.set()
        looking.join()


def machine_cpu() -> float:
    """Seconds of a processor that this machine has worked since it was started."""
    times = psutil.cpu_times()
    return sum(times) - times.idle - times.iowait


def middle(values: Iterator[float]) -> float:
    """The median."""
    every = sorted(values)
    return every[len(every) // 2]
