"""Runs of DAGs as the verbs show them: any DAG by name, and the canary that proves the stack."""

from rich.console import Console

from orchestration.clients import dag_runs
from orchestration.clients.airflow import Airflow
from orchestration.errors import StackError
from orchestration.process.progress import Progress

CANARY = "canary"
# What the canary does, in its order; it returns the seconds each took.
HOPS = ("queued", "client", "run", "metric", "artifact", "model", "prune")
CANARY_SECONDS = 150
# A fresh stack parses its DAGs within seconds of its first heartbeat.
PARSE_SECONDS = 60
KEPT_RUNS = 5


def prove(airflow: Airflow, console: Console | None = None) -> str:
    """Send the canary through queue, worker and MLflow; the time of each hop in one line.

    Raises StackError when it does not come back well.
    """
    with Progress(console) as progress:
        progress.show([("proof", "wait", "the canary goes through queue, worker and MLflow")])
        run_id = dag_runs.start(airflow, CANARY, {}, PARSE_SECONDS)
        state, tasks = list(airflow.watch(CANARY, run_id, CANARY_SECONDS, pause=0.3))[-1]
        if state != "success":
            raise StackError(
                f"the proof failed. {dag_runs.failure(airflow, CANARY, run_id, tasks)}"
            )
        hops = airflow.returned(CANARY, run_id, tasks[-1]["task_id"]) or {}
        if missing := set(HOPS) - hops.keys():
            raise StackError(f"the canary did not tell of {', '.join(sorted(missing))}")
        told = ", ".join(f"{name} {hops[name]:.2f} s" for name in HOPS)
        progress.show([("proof", "ok", told)])
    airflow.prune_runs(CANARY, KEPT_RUNS)
    return told
