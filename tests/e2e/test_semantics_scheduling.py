"""Clear a running task, kill the supervisors of tasks with callbacks, and reprocess runs.

Tasks without heartbeats count as dead after a shorter time than usual, to save time.
"""

import contextlib
import re
import time

import psutil
import pytest

from tests.e2e.clone import until
from tests.e2e.faults import (
    RETRIED_SECONDS,
    TASK_SERVICE,
    TITLE,
    begin,
    crash,
    journal_lines,
    outcome,
    paused,
    start,
    stop,
    tree,
    trigger,
)

HEARTBEAT_SECONDS = 40
# The scheduler looks every 10 s for tasks without heartbeats.
AWAY_SECONDS = HEARTBEAT_SECONDS + 35
CALLBACKS = [
    "failed failure callback",
    "failed try 1",
    "retried retry callback",
    "retried try 1",
    "retried try 2",
]
RANGE = ("--from-date", "2025-01-01", "--to-date", "2025-01-02")

pytestmark = pytest.mark.usefixtures("journal", "dags")


@pytest.fixture(scope="module")
def dags(stack):
    """Add the DAGs of this test, and restart the stack with a short heartbeat timeout."""
    file = stack.folder / "orchestration/docker-compose.yaml"
    text = file.read_text()
    name = "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT"
    file.write_text(re.sub(rf'{name}: "\d+"', f'{name}: "{HEARTBEAT_SECONDS}"', text))
    assert file.read_text() != text
    stack.add_dags("semantics/scheduling")
    stack.run_ok("inv", "up", "--no-proof")
    until(lambda: "dag_id" in stack.airflow("/api/v2/dags/killed"), 120)
    yield
    file.write_text(text)
    stack.run_ok("inv", "up", "--no-proof")


def test_cleared_running_task_runs_again_within_a_minute(stack, figures):
    run_id = begin(stack)
    task = {"dag_run_id": run_id, "task_ids": ["work"], "only_failed": False, "dry_run": False}
    address = stack.url("AIRFLOW_PORT") + "/api/v2/dags/journal/clearTaskInstances"
    stack.session().post(address, json=task, timeout=30).raise_for_status()
    started = time.monotonic()
    until(lambda: journal_lines(stack, run_id)[1:] == ["2 begun"], 60)
    figures["runs again after"] = time.monotonic() - started
    assert outcome(stack, run_id) == ("success", 2)
    assert journal_lines(stack, run_id) == ["1 begun", "2 begun", "2 ended"]
    path = f"/api/v2/dags/journal/dagRuns/{run_id}/taskInstances"
    [task] = stack.airflow(path)["task_instances"]
    # Clearing allows all retries again.
    assert task["max_tries"] == 1 + 2


@pytest.mark.parametrize("victim", ["supervisors", "worker"])
def test_task_with_callbacks_ends_if_its_supervisor_dies(stack, engine, figures, victim):
    if victim == "worker" and engine != "docker":
        pytest.skip("the standalone engine has no worker")
    run_id = trigger(stack, "killed")
    until(lambda: len(journal_lines(stack, run_id)) == 2, 60)
    if victim == "worker":
        crash(stack, "airflow-worker")
    else:
        kill_supervisors(stack)
    started = time.monotonic()
    path = f"/api/v2/dags/killed/dagRuns/{run_id}"
    until(lambda: stack.airflow(path)["state"] == "failed", RETRIED_SECONDS)
    figures["run ended after"] = time.monotonic() - started
    tasks = stack.airflow(f"{path}/taskInstances")["task_instances"]
    ends = {task["task_id"]: (task["state"], task["try_number"]) for task in tasks}
    assert ends == {"retried": ("success", 2), "failed": ("failed", 1)}
    # A repeated callback would be recorded within this time.
    with contextlib.suppress(AssertionError):
        until(lambda: len(journal_lines(stack, run_id)) > len(CALLBACKS), 30)
    assert sorted(journal_lines(stack, run_id)) == CALLBACKS
    assert not stack.airflow("/api/v2/dags/killed")["is_stale"]


def kill_supervisors(stack):
    """Kill the supervisor of each running task, and then the task."""
    tasks = [
        process
        for process in tree(stack, TASK_SERVICE[stack.engine])
        if TITLE.match(" ".join(process.cmdline()))
    ]
    assert len(tasks) == 2
    for process in [*(task.parent() for task in tasks), *tasks]:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()


def test_task_survives_while_api_server_is_away(stack, engine, figures):
    run_id = begin(stack, AWAY_SECONDS + 45)
    with away(stack, "airflow-apiserver"):
        time.sleep(AWAY_SECONDS)
    started = time.monotonic()
    until(lambda: all(check["healthy"] for check in stack.health()["checks"]), 60)
    state = outcome(stack, run_id)
    figures["run ended after"] = time.monotonic() - started
    assert state == ("success", 1)
    assert journal_lines(stack, run_id) == ["1 begun", "1 ended"]


@contextlib.contextmanager
def away(stack, service):
    """Make a service hang on Docker. Without Docker, where the watchdog would kill it, stop it."""
    if stack.engine == "docker":
        with paused(stack, service):
            yield
        return
    stop(stack, service)
    yield
    start(stack, service)


def test_backfill_that_reprocesses_changes_no_other_dag(stack):
    for dag_id in ("backfilled", "bystander"):
        until(lambda dag_id=dag_id: runs(stack, dag_id) == [("scheduled", "success")] * 2, 120)
    command = ("airflow", "--", "backfill", "create", "--dag-id", "backfilled", *RANGE)
    stack.run_ok("inv", *command, "--reprocess-behavior", "completed")
    until(lambda: runs(stack, "backfilled") == [("backfill", "success")] * 2, 120)
    assert runs(stack, "bystander") == [("scheduled", "success")] * 2


def runs(stack, dag_id):
    """Return type and state of each run of a DAG."""
    rows = stack.airflow(f"/api/v2/dags/{dag_id}/dagRuns")["dag_runs"]
    return [(row["run_type"], row["state"]) for row in rows]
