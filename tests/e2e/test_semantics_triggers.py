"""Restart the triggerer while many triggers wait, and run triggers that block or fail."""

import json
import time

import pytest

from tests.e2e.clone import until
from tests.e2e.faults import crash, trigger

# A new triggerer takes over after 30 s without a heartbeat of the old one.
TAKEN_OVER_SECONDS = 120
# A trigger that blocks is interrupted after 60 s.
BLOCKED_SECONDS = 180
NUMBER = 30


@pytest.fixture(scope="module")
def dags(stack):
    stack.add_dags("semantics/triggers")
    until(lambda: "dag_id" in stack.airflow("/api/v2/dags/bad_triggers"), 120)


@pytest.fixture
def wake(stack):
    """Return the file that the waiting triggers look for."""
    file = stack.folder / "dags/wake"
    yield file
    file.unlink(missing_ok=True)


def tasks(stack, dag, run_id):
    """Return the state of each task instance of a run, by its name and map index."""
    path = f"/api/v2/dags/{dag}/dagRuns/{run_id}/taskInstances?limit=100"
    instances = stack.airflow(path)["task_instances"]
    return {(one["task_id"], one["map_index"]): one["state"] for one in instances}


def test_many_triggers_start_after_a_restart(stack, dags, wake, figures):
    run_id = trigger(stack, "many_triggers")
    waiting = {("wait", number): "deferred" for number in range(NUMBER)}
    until(lambda: tasks(stack, "many_triggers", run_id) == waiting, 240, pause=2)
    crash(stack, "airflow-triggerer")
    wake.touch()
    started = time.monotonic()
    done = dict.fromkeys(waiting, "success")
    until(lambda: tasks(stack, "many_triggers", run_id) == done, TAKEN_OVER_SECONDS + 120, pause=2)
    figures["run ended after"] = time.monotonic() - started
    until(lambda: stack.health()["status"] == "healthy", 90)


def test_triggers_that_block_or_fail_end_alone(stack, dags, wake, figures):
    wake.touch()
    start = stack.start_times()["airflow-triggerer"]
    run_id = trigger(stack, "bad_triggers")
    started = time.monotonic()
    # While one blocks, the status page reports it.
    until(lambda: "triggers" in stack.status_page(), 120, pause=1)
    figures["reported after"] = time.monotonic() - started
    good = ("Waits", "Reads", "WithoutPayload")
    ends = {(name, -1): "success" for name in good}
    ends |= {(name, -1): "failed" for name in ("Blocks", "Invalid", "Unreadable")}
    until(lambda: tasks(stack, "bad_triggers", run_id) == ends, BLOCKED_SECONDS, pause=2)
    figures["run ended after"] = time.monotonic() - started
    assert stack.start_times()["airflow-triggerer"] == start
    until(lambda: "triggers" not in stack.status_page(), 60)
    log = f"/api/v2/dags/bad_triggers/dagRuns/{run_id}/taskInstances/Blocks/logs/1"
    assert "blocked all others" in json.dumps(stack.airflow(log))
    findings = json.loads(stack.run("inv", "doctor", "--json").stdout)["findings"]
    [problem] = [one for one in findings if one["name"] == "trigger-blocks"]
    assert f"bad_triggers/{run_id}/Blocks/" in problem["cause"]
