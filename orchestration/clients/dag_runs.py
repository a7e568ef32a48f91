"""Trigger a DAG run, show its progress until it finishes, and explain a failure."""

from datetime import datetime
from typing import Any

from orchestration.clients.airflow import Airflow
from orchestration.errors import StackError
from orchestration.process.progress import Line, Progress

RUN_SECONDS = 6 * 3600
KINDS = {"success": "ok", "failed": "bad", "upstream_failed": "bad"}


def start(
    airflow: Airflow,
    dag_id: str,
    conf: dict[str, Any],
    wait_seconds: float = 5,
    date: datetime | None = None,
) -> str:
    """Trigger a run of a DAG, unpausing the DAG if necessary, and return the run's id.

    The canary has no date, because it has no use for one and runs must not exclude each other.
    """
    paused = airflow.dag(dag_id, wait_seconds)["is_paused"]
    run_id = airflow.trigger(dag_id, conf, date)
    # Afterwards, so that a rejected request changes nothing.
    if paused:
        airflow.unpause(dag_id)
        print(f"{dag_id} was paused and is now unpaused.")
    return run_id


def follow(airflow: Airflow, dag_id: str, run_id: str, seconds: float = RUN_SECONDS) -> float:
    """Show a run's task states until it finishes; return the seconds that took.

    Raises StackError with the last log lines of the failed task unless the run succeeds.
    """
    with Progress() as progress:
        for state, tasks in airflow.watch(dag_id, run_id, seconds):
            progress.show([*map(_line, tasks), (dag_id, KINDS.get(state, "wait"), state)])
    if state != "success":
        raise StackError(failure_message(airflow, dag_id, run_id, tasks))
    return progress.elapsed


def failure_message(airflow: Airflow, dag_id: str, run_id: str, tasks: list[dict[str, Any]]) -> str:
    """Return which task failed, its last log lines and the address of the run's page."""
    page = f"Open: {airflow.address}/dags/{dag_id}/runs/{run_id}"
    failed = next((task for task in tasks if task["state"] == "failed"), None)
    if not failed:
        return f"{dag_id} failed, but none of its tasks did.\n{page}"
    lines = [f"  {line}" for line in airflow.log_tail(dag_id, run_id, failed)]
    count = failed["try_number"]
    tries = f"after {count} tries" if count > 1 else "on its first try"
    return "\n".join([f"{dag_id}: task {failed['task_id']} failed {tries}:", *lines, page])


def _line(task: dict[str, Any]) -> Line:
    state = task["state"] or "waiting"
    name = task["task_id"] if task["map_index"] < 0 else f"{task['task_id']}[{task['map_index']}]"
    duration = f" in {task['duration']:.1f} s" if task["duration"] and state == "success" else ""
    # The label that a mapped task gives to an instance. It is known only once the task runs.
    rendered = task.get("rendered_map_index")
    label = f"{rendered}: " if rendered and rendered != str(task["map_index"]) else ""
    return name, KINDS.get(state, "wait"), f"{label}{state}{duration}"
