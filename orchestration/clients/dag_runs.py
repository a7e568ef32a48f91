"""Runs of DAGs started, followed to their end, and explained where they fail."""

from typing import Any

from orchestration.clients.airflow import Airflow
from orchestration.errors import StackError
from orchestration.process.progress import Line, Progress

RUN_SECONDS = 6 * 3600
KINDS = {"success": "ok", "failed": "bad", "upstream_failed": "bad"}


def start(airflow: Airflow, dag_id: str, conf: dict[str, Any], wait_seconds: float = 5) -> str:
    """Trigger a run of a DAG, unpausing it first; the run's id."""
    if airflow.dag(dag_id, wait_seconds)["is_paused"]:
        airflow.unpause(dag_id)
        print(f"{dag_id} was paused: unpaused")
    return airflow.trigger(dag_id, conf)


def follow(airflow: Airflow, dag_id: str, run_id: str, seconds: float = RUN_SECONDS) -> float:
    """Show a run's task states until it has ended; the seconds it took.

    Raises StackError with the failed task's last log lines unless it succeeded.
    """
    with Progress() as progress:
        for state, tasks in airflow.watch(dag_id, run_id, seconds):
            progress.show([*map(_line, tasks), (dag_id, KINDS.get(state, "wait"), state)])
    if state != "success":
        raise StackError(failure(airflow, dag_id, run_id, tasks))
    return progress.elapsed


def failure(airflow: Airflow, dag_id: str, run_id: str, tasks: list[dict[str, Any]]) -> str:
    """Which task failed, its last log lines, and where to read on."""
    where = f"Open: {airflow.address}/dags/{dag_id}/runs/{run_id}"
    failed = next((task for task in tasks if task["state"] == "failed"), None)
    if not failed:
        return f"{dag_id} failed without a failed task\n{where}"
    lines = [f"  {line}" for line in airflow.log_tail(dag_id, run_id, failed)]
    tries = (
        f"after {failed['try_number']} tries" if failed["try_number"] > 1 else "at its first try"
    )
    return "\n".join([f"{dag_id}: task {failed['task_id']} failed {tries}:", *lines, where])


def _line(task: dict[str, Any]) -> Line:
    state = task["state"] or "waiting"
    name = task["task_id"] if task["map_index"] < 0 else f"{task['task_id']}[{task['map_index']}]"
    took = f" in {task['duration']:.1f} s" if task["duration"] and state == "success" else ""
    # What a mapped task calls itself, which is known once it runs.
    called = task.get("rendered_map_index")
    own = f"{called}: " if called and called != str(task["map_index"]) else ""
    return name, KINDS.get(state, "wait"), f"{own}{state}{took}"
