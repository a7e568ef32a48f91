"""What changes a stack while it runs, on either engine: restart, rebuild, interrupted starts."""

import re
import signal
import subprocess
import time

import pytest

SLOW = """
import time
from datetime import datetime

from airflow.sdk import dag, task


@dag(schedule=None, start_date=datetime(2025, 1, 1), is_paused_upon_creation=False, tags=["test"])
def slow():
    @task
    def sleep():
        time.sleep(75)

    sleep()


slow()
"""
# `replace_emoji` came with 1.7; 0.6.0 is the last version without it that has a wheel or builds.
USES_A_PACKAGE = """
from datetime import datetime

from airflow.sdk import dag, task
from emoji import replace_emoji


@dag(schedule=None, start_date=datetime(2025, 1, 1), is_paused_upon_creation=False, tags=["test"])
def plain_words():
    @task
    def words():
        return replace_emoji("ok \\N{ROCKET}", "")

    words()


plain_words()
"""


def since(stack):
    """When each service was started; one-shots run again with every `up`."""
    rows = stack.health()["services"]
    return {row["name"]: row["since"] for row in rows if row["state"] == "running"}


@pytest.fixture(scope="module")
def requirements(stack):
    """install/requirements.txt of the clone and its lock, put back at the end."""
    files = [stack.folder / "install" / f"requirements.{kind}" for kind in ("txt", "lock")]
    kept = [file.read_text() for file in files]
    (stack.folder / "dags" / "slow.py").write_text(SLOW)
    yield files
    (stack.folder / "dags" / "plain_words.py").unlink(missing_ok=True)
    for file, text in zip(files, kept, strict=True):
        file.write_text(text)


def test_one_service_is_restarted_and_no_other(stack):
    before = since(stack)
    output = stack.well("inv", "restart", "-s", "airflow-scheduler")
    assert re.search(r"restarted and proven in \d+ s", output)
    after = since(stack)
    assert {name for name in before if before[name] != after[name]} == {"airflow-scheduler"}


def test_arguments_for_airflow_arrive_as_they_were_typed(stack):
    value = """a  'b' "c" $HOME * \\ ;"""
    stack.well("inv", "airflow", "--", "variables", "set", "told so", value)
    assert stack.well("inv", "airflow", "--", "variables", "get", "told so").strip() == value
    assert stack.run("inv", "airflow", "--", "variables", "get", "not there").returncode == 1


def test_a_shell_is_where_the_service_is(stack):
    command = "python -c 'import mlflow; print(mlflow.__version__)'; exit 7"
    done = subprocess.run(
        ["inv", "shell", "-s", "mlflow"], cwd=stack.folder, input=command, capture_output=True,
        text=True, timeout=60, env=stack.environment(), check=False,
    )  # fmt: skip
    assert (done.stdout.strip(), done.returncode) == ("3.17.2", 7)


def test_a_requirement_that_does_not_exist_is_harmless(stack, requirements):
    text, lock = requirements
    before, kept, locked = since(stack), text.read_text(), lock.read_text()
    number = len(kept.splitlines()) + 1
    text.write_text(f"{kept}no-such-package-of-ours==1\n")
    done = stack.run("inv", "rebuild")
    assert done.returncode == 1
    assert f"install/requirements.txt line {number}: no-such-package-of-ours==1" in done.stderr
    assert done.stderr.rstrip().endswith("then: inv rebuild")
    assert (since(stack), lock.read_text()) == (before, locked)
    text.write_text(kept)


def test_a_package_is_added_while_a_task_runs_on(stack, requirements):
    text, lock = requirements
    (stack.folder / "dags" / "plain_words.py").write_text(USES_A_PACKAGE)
    is_known(stack, "slow")
    run_id = re.search(r"run (\S+) started", stack.well("inv", "trigger", "slow"))[1]
    until(lambda: states(stack, "slow", run_id) == [("running", 1)], 60)
    text.write_text(f"{text.read_text()}emoji\n")
    started = time.monotonic()
    output = stack.well("inv", "rebuild")
    print(f"\na package added and swapped in {time.monotonic() - started:.0f} s")
    assert re.search(r"rebuilt, swapped and proven in \d+ s", output)
    assert "emoji==" in lock.read_text()
    until(lambda: states(stack, "slow", run_id)[0][0] != "running", 60)
    assert states(stack, "slow", run_id) == [("success", 1)]
    is_known(stack, "plain_words")
    assert "success" in stack.well("inv", "trigger", "plain_words", "--wait")


def test_a_requirement_that_breaks_a_dag_is_harmless(stack, requirements):
    text, lock = requirements
    before, kept, locked = since(stack), text.read_text(), lock.read_text()
    text.write_text(kept.replace("emoji\n", "emoji==1.2.0\n"))
    done = stack.run("inv", "rebuild")
    assert done.returncode == 1
    assert "dags/plain_words.py: ImportError: cannot import name 'replace_emoji'" in done.stderr
    assert "emoji==1.2.0" in done.stderr
    assert (since(stack), lock.read_text()) == (before, locked)
    text.write_text(kept)
    # What was refused is not what a later start runs from.
    stack.well("inv", "up", "--no-proof")
    assert since(stack) == before


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGHUP, signal.SIGKILL])
def test_an_interrupted_start_is_finished_by_the_next(stack, how):
    stack.well("inv", "down")
    first = stack.start("inv", "up")
    lock = stack.folder / ".lock"
    until(lambda: f"(process {first.pid}, " in lock.read_text(), 20)
    time.sleep(1.5)
    second = stack.run("inv", "up")
    assert second.returncode == 1
    assert re.search(rf"inv up \(process {first.pid}, since [\d:]+\) is at work", second.stderr)
    first.send_signal(how)
    _, said = first.communicate(timeout=60)
    assert first.returncode == (-how if how == signal.SIGKILL else 1)
    if how != signal.SIGKILL:
        assert said == "inv up: interrupted; run it again to go on\n"
    assert "up and proven" in stack.well("inv", "up")


def is_known(stack, dag_id):
    # A new file is seen within half a minute.
    until(lambda: stack.airflow(f"/api/v2/dags/{dag_id}").get("dag_id") == dag_id, 60)


def states(stack, dag_id, run_id):
    path = f"/api/v2/dags/{dag_id}/dagRuns/{run_id}/taskInstances"
    return [(task["state"], task["try_number"]) for task in stack.airflow(path)["task_instances"]]


def until(true, seconds):
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.5)
