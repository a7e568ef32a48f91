"""Run tasks in virtual environments, call programs by name, and use all parts of a plugin."""

import shutil

import pytest
import requests

from tests.e2e.clone import until
from tests.e2e.faults import journal_lines, trigger
from tests.support.repository import ROOT

PLUGIN = "surroundings_plugin.py"
# Packages are downloaded.
RUN_SECONDS = 300


@pytest.fixture(scope="module", autouse=True)
def dags(stack):
    """Add the plugin, which each service loads at its start, and the DAGs that need it."""
    shutil.copy2(ROOT / "tests/e2e/plugins" / PLUGIN, stack.folder / "plugins")
    stack.run_ok("inv", "restart")
    stack.add_dags("semantics/surroundings")
    for dag_id in ("surroundings", "planned"):
        until(lambda dag_id=dag_id: "dag_id" in stack.airflow(f"/api/v2/dags/{dag_id}"), 120)


@pytest.fixture(scope="module")
def states(stack):
    """Run the DAG `surroundings`, and return the states of its tasks by their IDs."""
    run_id = trigger(stack, "surroundings")
    path = f"/api/v2/dags/surroundings/dagRuns/{run_id}"
    until(lambda: stack.airflow(path)["state"] in ("success", "failed"), RUN_SECONDS)
    states: dict[str, list[str]] = {}
    for task in stack.airflow(f"{path}/taskInstances")["task_instances"]:
        states.setdefault(task["task_id"], []).append(task["state"])
    return states


@pytest.mark.parametrize(
    ("task", "instances"),
    [("alone", 1), ("with_airflow", 1), ("apart", 1), ("program", 4), ("macro", 1)],
)
def test_task_finds_what_it_needs(states, task, instances):
    assert states[task] == ["success"] * instances


def test_timetable_and_listener_of_plugin_are_used(stack):
    [run] = stack.await_runs("planned", 120)
    assert (run["run_type"], run["state"]) == ("scheduled", "success")
    events = ["run succeeded", "task succeeded"]
    until(lambda: sorted(journal_lines(stack, run["dag_run_id"])) == events, 30)


def test_application_of_plugin_answers(stack):
    answer = requests.get(stack.url("AIRFLOW_PORT") + "/surroundings/ping", timeout=30)
    assert answer.json() == {"answer": "pong"}
