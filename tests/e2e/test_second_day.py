"""Start an existing stack again after interruptions, and use it for a day, on either engine."""

import json
import re
import time
from signal import SIGHUP, SIGINT, SIGKILL

import pytest

from tests.e2e.clone import until
from tests.e2e.faults import trigger
from tests.support.process import run


@pytest.fixture(scope="module", autouse=True)
def dags(stack):
    """Add the DAGs of these tests before the start that parses them."""
    stack.add_dags("hundred", "patient")


def test_interrupted_starts_are_finished_by_the_next(stack):
    stack.run_ok("inv", "down")
    # Each start gets further than the previous one.
    for number in (SIGINT, SIGHUP):
        message = "Interrupted. Run inv up again to continue.\n"
        assert interrupted_start(stack, number) == (1, message), number.name
    code, _ = interrupted_start(stack, SIGKILL)
    assert code == -SIGKILL
    assert "Started and verified" in stack.run_unit_command("ExecStart")


def interrupted_start(stack, number):
    """Start the stack, check that a second start is refused, and send a signal.

    Return the exit code and the error output of the first start.
    """
    started, lock = stack.start("inv", "up"), stack.folder / ".lock"
    until(lambda: f"(process {started.pid}, " in lock.read_text(), 20)
    time.sleep(1.5)
    second = stack.run("inv", "up")
    assert second.returncode == 1
    holder = rf"inv up \(process {started.pid}, since [\d:]+\) is running in this clone"
    assert re.search(holder, second.stderr)
    started.send_signal(number)
    _, errors = started.communicate(timeout=60)
    return started.returncode, errors


def test_runs_and_models_are_kept(stack):
    assert [model["version"] for model in stack.latest_versions()] == ["1"]
    runs = stack.await_runs("training_pipeline", 5)
    assert [run["state"] for run in runs] == ["success"]


def test_deep_health_json_includes_canary(stack):
    report = json.loads(stack.run_ok("inv", "health", "--json", "--deep"))
    assert report["checks"][-1]["name"] == "canary"
    assert report["checks"][-1]["healthy"]


def test_hundred_mapped_tasks_succeed_on_first_try(stack):
    run_id = trigger(stack, "hundred", "--wait")
    path = f"/api/v2/dags/hundred/dagRuns/{run_id}/taskInstances?limit=200"
    tasks = stack.airflow(path)["task_instances"]
    assert len(tasks) == 100
    assert {(task["state"], task["try_number"]) for task in tasks} == {("success", 1)}
    # The DAG sets no retries, so this is the stack's default.
    assert {task["max_tries"] for task in tasks} == {2}


def test_restart_of_one_service_keeps_others_running(stack):
    before = stack.start_times()
    output = stack.run_ok("inv", "restart", "-s", "airflow-scheduler")
    assert re.search(r"Restarted and verified in \d+ s", output)
    after = stack.start_times()
    assert {name for name in before if before[name] != after[name]} == {"airflow-scheduler"}


def test_airflow_command_keeps_arguments_unchanged(stack):
    value = """a  'b' "c" $HOME * \\ ;"""
    stack.run_ok("inv", "airflow", "--", "variables", "set", "some key", value)
    assert stack.run_ok("inv", "airflow", "--", "variables", "get", "some key").strip() == value
    assert stack.run("inv", "airflow", "--", "variables", "get", "not there").returncode == 1


def test_shell_runs_in_the_service(stack):
    command = "python -c 'import mlflow; print(mlflow.__version__)'; exit 7"
    options = {"cwd": stack.folder, "input": command, "env": stack.environment()}
    done = run("inv", "shell", "-s", "mlflow", timeout=60, **options)
    assert (done.stdout.strip(), done.returncode) == ("3.17.2", 7)
