"""Run mapped operators with default arguments, and skip tasks of all kinds."""

import pytest

from tests.e2e.clone import until
from tests.e2e.faults import trigger

API = "/api/v2/dags"
DAGS = ("mapped_operators", "branched", "stopped")
FINISHED = ("success", "failed")
RUN_SECONDS = 120
TWO = {0: "skipped", 1: "skipped"}
STATES = {
    "open": {-1: "success"},
    "first": {-1: "success"},
    "commands": {-1: "success"},
    "plain": {-1: "skipped"},
    "mapped": TWO,
    "mapped_late": {-1: "skipped"},
    "group.work": TWO,
    "group_late.work": {-1: "skipped"},
    "close": {-1: "success"},
}
# A branch skips the tasks directly after it, a short circuit also those after them.
OTHERS = {
    "branched": {"chosen": {-1: "success"}, "late": {0: "success"}},
    "stopped": {"late": {0: "skipped"}},
}

pytestmark = pytest.mark.usefixtures("dags")


@pytest.fixture(scope="module")
def dags(stack):
    stack.add_dags("semantics/operators")
    for dag_id in DAGS:
        until(lambda dag_id=dag_id: "dag_id" in stack.airflow(f"{API}/{dag_id}"), 120)


def finished(stack, path):
    """Wait until a run has finished, and return its state and its task instances."""
    until(lambda: stack.airflow(path)["state"] in FINISHED, RUN_SECONDS, pause=1)
    instances = stack.airflow(f"{path}/taskInstances")["task_instances"]
    return stack.airflow(path)["state"], instances


def states(instances):
    """Return the state of each instance by task and map index."""
    result = {}
    for one in instances:
        result.setdefault(one["task_id"], {})[one["map_index"]] = one["state"]
    return result


def test_mapped_operators_have_default_retries_and_ignore_unknown_defaults(stack):
    path = f"{API}/mapped_operators/dagRuns/{trigger(stack, 'mapped_operators')}"
    _, instances = finished(stack, path)
    ends = {
        (one["task_id"], one["map_index"]): (one["state"], one["try_number"]) for one in instances
    }
    assert ends == {
        ("bash", 0): ("failed", 3),
        ("bash", 1): ("success", 1),
        ("once", 0): ("failed", 1),
        ("default", 0): ("success", 1),
        ("python", 0): ("success", 1),
    }


@pytest.mark.parametrize("dag_id", ["branched", "stopped"])
def test_skip_reaches_tasks_of_all_kinds(stack, dag_id):
    run_id = trigger(stack, dag_id)
    path = f"{API}/{dag_id}/dagRuns/{run_id}"
    expected = {**STATES, **OTHERS[dag_id]}
    state, instances = finished(stack, path)
    assert (states(instances), state) == (expected, "success")
    # Tasks that are cleared are skipped again.
    tasks = ["mapped", "group.work", "plain"]
    body = {"dag_run_id": run_id, "task_ids": tasks, "only_failed": False, "dry_run": False}
    address = f"{stack.url('AIRFLOW_PORT')}{API}/{dag_id}/clearTaskInstances"
    stack.session().post(address, json=body, timeout=30).raise_for_status()
    state, instances = finished(stack, path)
    assert (states(instances), state) == (expected, "success")
