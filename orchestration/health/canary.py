"""Run the canary DAG, which verifies that tasks get through queue, worker and MLflow."""

from collections.abc import Mapping
from datetime import UTC, datetime

from rich.console import Console

from orchestration.clients import dag_runs
from orchestration.clients.airflow import Airflow
from orchestration.clients.status_page import Work
from orchestration.errors import StackError
from orchestration.process.progress import Progress

CANARY = "canary"
# The steps of the canary in order. It returns the seconds that each took.
HOPS = ("queued", "client", "run", "metric", "artifact", "model", "prune")
CANARY_SECONDS = 150
# A canary that waited this long in the queue shows that others wait too.
QUEUED_LIMIT_SECONDS = 60
# A new stack parses its DAGs within seconds of its first heartbeat.
PARSE_SECONDS = 60
KEPT_RUNS = 5


def run(airflow: Airflow, console: Console | None = None) -> dict[str, float]:
    """Run the canary and return the seconds of each step.

    Raises StackError if it fails, takes longer than CANARY_SECONDS or lacks a step.
    """
    with Progress(console) as progress:
        progress.show([(CANARY, "wait", "running through queue, worker and MLflow")])
        run_id = dag_runs.start(airflow, CANARY, {}, PARSE_SECONDS)
        state, tasks = list(airflow.watch(CANARY, run_id, CANARY_SECONDS, pause=0.3))[-1]
        if state != "success":
            failure = dag_runs.failure_message(airflow, CANARY, run_id, tasks)
            raise StackError(f"The canary failed.\n{failure}")
        hops: dict[str, float] = airflow.return_value(CANARY, run_id, tasks[-1]["task_id"]) or {}
        if missing := set(HOPS) - hops.keys():
            raise StackError(f"The canary reported no time for: {', '.join(sorted(missing))}.")
        progress.show([(CANARY, "ok", summary(hops))])
    airflow.prune_runs(CANARY, KEPT_RUNS)
    return hops


def summary(hops: Mapping[str, float]) -> str:
    """Return one line with the time of each step."""
    return ", ".join(f"{name} {hops[name]:.2f} s" for name in HOPS)


def result(hops: Mapping[str, float]) -> Work:
    """Return the result of a canary that has just succeeded, as the status page will show it."""
    waited = hops["queued"] >= QUEUED_LIMIT_SECONDS
    text = f"waited {hops['queued']:.0f} s in the queue; " if waited else ""
    state = "degraded" if waited else "up"
    return Work(CANARY, state, text + summary(hops), datetime.now(UTC).isoformat())
