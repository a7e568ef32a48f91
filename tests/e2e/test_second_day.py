"""Up again, after starts that were interrupted, and the work of a day, on either engine."""

import json
import re
import time
from signal import SIGHUP, SIGINT, SIGKILL

import pytest

from tests.e2e.clone import until
from tests.e2e.faults import triggered
from tests.support.process import run


@pytest.fixture(scope="module", autouse=True)
def known_dags(stack):
    """The DAGs of these tests, there before the start that reads them all."""
    stack.add_dags("hundred", "patient")


def test_starts_interrupted_again_and_again_are_finished_by_the_next(stack):
    stack.well("inv", "down")
    # Each gets further than the one before.
    for how in (SIGINT, SIGHUP):
        told = "Interrupted. Run inv up again to continue.\n"
        assert interrupted_start(stack, how) == (1, told), how.name
    code, _ = interrupted_start(stack, SIGKILL)
    assert code == -SIGKILL
    assert "up and proven" in stack.by_unit("ExecStart")


def interrupted_start(stack, how):
    """A start that another beside it respects and a signal ends: its exit code and last words."""
    started, lock = stack.start("inv", "up"), stack.folder / ".lock"
    until(lambda: f"(process {started.pid}, " in lock.read_text(), 20)
    time.sleep(1.5)
    beside_it = stack.run("inv", "up")
    assert beside_it.returncode == 1
    holder = rf"inv up \(process {started.pid}, since [\d:]+\) is at work"
    assert re.search(holder, beside_it.stderr)
    started.send_signal(how)
    _, said = started.communicate(timeout=60)
    return started.returncode, said


def test_runs_and_models_are_still_there(stack):
    assert [model["version"] for model in stack.registered()] == ["1"]
    runs = stack.await_runs("training_pipeline", 5)
    assert [run["state"] for run in runs] == ["success"]


def test_deep_health_adds_the_canary_for_machines_too(stack):
    report = json.loads(stack.well("inv", "health", "--json", "--deep"))
    assert report["checks"][-1]["name"] == "canary"
    assert report["checks"][-1]["healthy"]


def test_a_hundred_mapped_tasks_all_succeed_at_their_first_try(stack):
    run_id = triggered(stack, "hundred", "--wait")
    path = f"/api/v2/dags/hundred/dagRuns/{run_id}/taskInstances?limit=200"
    tasks = stack.airflow(path)["task_instances"]
    assert len(tasks) == 100
    assert {(task["state"], task["try_number"]) for task in tasks} == {("success", 1)}
    # Its DAG says nothing of retries: the stack does.
    assert {task["max_tries"] for task in tasks} == {2}


def test_one_service_is_restarted_and_no_other(stack):
    before = stack.since()
    output = stack.well("inv", "restart", "-s", "airflow-scheduler")
    assert re.search(r"restarted and proven in \d+ s", output)
    after = stack.since()
    assert {name for name in before if before[name] != after[name]} == {"airflow-scheduler"}


def test_arguments_for_airflow_arrive_as_they_were_typed(stack):
    value = """a  'b' "c" $HOME * \\ ;"""
    stack.well("inv", "airflow", "--", "variables", "set", "told so", value)
    assert stack.well("inv", "airflow", "--", "variables", "get", "told so").strip() == value
    assert stack.run("inv", "airflow", "--", "variables", "get", "not there").returncode == 1


def test_a_shell_is_where_the_service_is(stack):
    command = "python -c 'import mlflow; print(mlflow.__version__)'; exit 7"
    given = {"cwd": stack.folder, "input": command, "env": stack.environment()}
    done = run("inv", "shell", "-s", "mlflow", timeout=60, **given)
    assert (done.stdout.strip(), done.returncode) == ("3.17.2", 7)
