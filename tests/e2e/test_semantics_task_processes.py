"""Kill tasks and their supervisors, and check that nothing that they started continues."""

import contextlib
import time

import psutil
import pytest

from tests.e2e.clone import until
from tests.e2e.faults import (
    crash,
    journal_lines,
    outcome,
    seconds_until_work_flows,
    task_process,
    trigger,
)

PROGRAM, DAEMON = "program-of-a-task", "daemon-of-a-task"
# A task that is marked as failed is ended at its next heartbeat, after 5 s at most. What does not
# end then is killed 5 s later.
ENDS_SECONDS = 15

pytestmark = pytest.mark.usefixtures("dags")


@pytest.fixture(scope="module")
def dags(stack):
    stack.add_dags("semantics/task_processes")
    until(lambda: "dag_id" in stack.airflow("/api/v2/dags/daemons"), 120)


@pytest.fixture(autouse=True)
def no_processes():
    """End what a failed test left, because it would use slots of the next one."""
    yield
    for process in processes():
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()


def processes(*names):
    """Return the programs of tasks on this machine, also those in containers."""
    matches = {}
    for process in psutil.process_iter(["cmdline"]):
        script = (process.info["cmdline"] or [])[-1:]
        if any(name in word for word in script for name in names or (PROGRAM, DAEMON)):
            matches[process.pid] = process
    # A shell is a copy of itself before it becomes another program.
    return [process for process in matches.values() if parent_id(process) not in matches]


def parent_id(process):
    try:
        return process.ppid()
    except psutil.NoSuchProcess:
        return 0


def begin_program(stack):
    run_id = trigger(stack, "program")
    until(lambda: len(processes(PROGRAM)) == 1, 60)
    return run_id


def mark_failed(stack, run_id):
    path = f"/api/v2/dags/program/dagRuns/{run_id}/taskInstances/work"
    address = stack.url("AIRFLOW_PORT") + path
    response = stack.session().patch(address, json={"new_state": "failed"}, timeout=30)
    # 409: it has failed already.
    assert response.status_code in (200, 409), response.text


def seconds_until_all_end():
    started = time.monotonic()
    until(lambda: not processes(), ENDS_SECONDS, pause=0.1)
    return time.monotonic() - started


def test_program_of_task_marked_as_failed_ends(stack, figures):
    run_id = begin_program(stack)
    mark_failed(stack, run_id)
    figures["program ended after"] = seconds_until_all_end()
    assert journal_lines(stack, run_id) == ["1 killed"]
    assert outcome(stack, run_id, "program") == ("failed", 1)


def test_program_does_not_run_next_to_second_try(stack):
    run_id = trigger(stack, "program_with_timeout")
    most, path = 0, f"/api/v2/dags/program_with_timeout/dagRuns/{run_id}"
    deadline = time.monotonic() + 120
    while stack.airflow(path)["state"] in ("queued", "running"):
        assert time.monotonic() < deadline
        most = max(most, len(processes(PROGRAM)))
        time.sleep(0.2)
    assert most == 1
    assert outcome(stack, run_id, "program_with_timeout") == ("failed", 2)
    assert journal_lines(stack, run_id) == ["1 killed", "2 killed"]
    seconds_until_all_end()


def test_programs_that_tasks_leave_use_no_slots(stack, figures):
    started = time.monotonic()
    runs = [trigger(stack, "daemons") for _ in range(int(stack.setting("WORKER_CONCURRENCY")) + 1)]
    for run_id in runs:
        assert outcome(stack, run_id, "daemons", limit=120) == ("success", 1)
    figures["all runs ended after"] = time.monotonic() - started
    figures["programs ended after"] = seconds_until_all_end()


def test_task_and_its_program_end_with_their_supervisor(stack, figures):
    run_id = begin_program(stack)
    task = task_process(stack)
    task.parent().kill()
    figures["program ended after"] = seconds_until_all_end()
    until(lambda: not task.is_running(), ENDS_SECONDS)
    assert journal_lines(stack, run_id) == ["1 killed"]
    mark_failed(stack, run_id)


def test_task_and_its_program_end_with_their_scheduler(stack, engine, figures):
    if engine != "standalone":
        pytest.skip("on Docker, a worker runs the tasks")
    run_id = begin_program(stack)
    crash(stack, "airflow-scheduler")
    figures["program ended after"] = seconds_until_all_end()
    until(lambda: "1 killed" in journal_lines(stack, run_id), ENDS_SECONDS)
    figures["work flows after"] = seconds_until_work_flows(stack)
    mark_failed(stack, run_id)
    seconds_until_all_end()
