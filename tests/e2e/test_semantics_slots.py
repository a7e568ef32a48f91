"""Fill the slots for tasks, and check that each is used, none twice, and no work is lost."""

import contextlib
import os
import subprocess
import sys
import time
from datetime import UTC, datetime

import psutil
import pytest

from tests.e2e.clone import until
from tests.e2e.faults import (
    begin,
    journal_lines,
    outcome,
    pid_of,
    seconds_until_work_flows,
    task_process,
    trigger,
)

# The watchdog once killed a scheduler this long after its last heartbeat.
FROZEN_SECONDS = 145

pytestmark = pytest.mark.usefixtures("journal", "dags")


@pytest.fixture(scope="module")
def dags(stack):
    stack.add_dags("patient", "semantics/slots")
    for dag_id in ("patient", "sensors"):
        until(lambda dag_id=dag_id: "dag_id" in stack.airflow(f"/api/v2/dags/{dag_id}"), 120)


@pytest.fixture
def on_standalone(engine):
    """Skip on Docker, where tasks are not child processes of the scheduler."""
    if engine != "standalone":
        pytest.skip("only the standalone engine runs tasks in the scheduler")


def running_tasks(stack, dag_id, run_id="~"):
    path = f"/api/v2/dags/{dag_id}/dagRuns/{run_id}/taskInstances?state=running"
    return stack.airflow(path)["total_entries"]


def slots_of(stack):
    slots = int(stack.setting("WORKER_CONCURRENCY"))
    assert slots >= 3, "these tests need three slots"
    return slots


@contextlib.contextmanager
def long_tasks(stack, number):
    """Keep a number of slots busy."""
    for _ in range(number):
        trigger(stack, "patient")
    try:
        until(lambda: running_tasks(stack, "patient") == number, 60)
        yield
    finally:
        finish = stack.folder / "dags/finish"
        finish.touch()
        until(lambda: running_tasks(stack, "patient") == 0, 60)
        finish.unlink()


def test_free_slots_are_used_while_long_tasks_run(stack, engine, figures):
    if engine == "standalone":
        # The number of slots that Airflow used depended on what had run before.
        stack.run_ok("inv", "restart", "-s", "airflow-scheduler")
    with long_tasks(stack, slots_of(stack) - 2):
        started = time.monotonic()
        run_id = trigger(stack, "waits")
        assert outcome(stack, run_id, "waits", limit=90) == ("success", 1)
        figures["waiting run ended after"] = time.monotonic() - started
        figures["canary after"] = seconds_until_work_flows(stack)


@contextlib.contextmanager
def cpu_load():
    """Keep all CPUs busy twice."""
    command = [sys.executable, "-c", "while True: pass"]
    processes = [subprocess.Popen(command) for _ in range(2 * (os.cpu_count() or 1))]
    try:
        yield
    finally:
        for process in processes:
            process.kill()
            process.wait()


def test_rescheduled_sensors_succeed_under_load(stack, figures):
    started = time.monotonic()
    with cpu_load():
        path = f"/api/v2/dags/sensors/dagRuns/{trigger(stack, 'sensors')}"
        until(lambda: stack.airflow(path, timeout=60)["state"] in ("success", "failed"), 600, 3)
    figures["sensors ended after"] = time.monotonic() - started
    tasks = stack.airflow(f"{path}/taskInstances")["task_instances"]
    assert {(task["state"], task["try_number"]) for task in tasks} == {("success", 1)}


def heartbeat_age(stack):
    heartbeat = stack.airflow("/api/v2/monitor/health")["scheduler"]["latest_scheduler_heartbeat"]
    return (datetime.now(UTC) - datetime.fromisoformat(heartbeat)).total_seconds()


def test_backlog_fills_all_slots_and_leaves_scheduler_responsive(stack, on_standalone, figures):
    path = f"/api/v2/dags/backlog/dagRuns/{trigger(stack, 'backlog')}"
    numbers, ages = [], []

    def quick_run_finished(quick):
        numbers.append(running_tasks(stack, "backlog") + running_tasks(stack, "quick"))
        ages.append(heartbeat_age(stack))
        return stack.airflow(f"/api/v2/dags/quick/dagRuns/{quick}")["state"] == "success"

    try:
        until(lambda: running_tasks(stack, "backlog") == slots_of(stack), 60)
        run_id = trigger(stack, "quick")
        # A slot is free after 45 s, and this task has the highest priority.
        until(lambda: quick_run_finished(run_id), 75, pause=1)
    finally:
        address = stack.url("AIRFLOW_PORT") + path
        stack.session().patch(address, json={"state": "failed"}, timeout=30).raise_for_status()
    figures["most running"], figures["oldest heartbeat"] = max(numbers), max(ages)
    assert max(numbers) == slots_of(stack)
    assert max(ages) < 30
    assert seconds_until_work_flows(stack) < 60


def test_killed_supervisor_is_noticed_at_once(stack, on_standalone, figures):
    run_id = begin(stack, 20)
    started = time.monotonic()
    task_process(stack).parent().kill()
    # Of this, 30 s are the delay before a retry and 20 s the task.
    assert outcome(stack, run_id, limit=120) == ("success", 2)
    figures["run ended after"] = time.monotonic() - started
    assert journal_lines(stack, run_id) == ["1 begun", "2 begun", "2 ended"]


def test_late_heartbeat_does_not_kill_running_tasks(stack, on_standalone):
    scheduler = psutil.Process(pid_of(stack, "airflow-scheduler"))
    run_id = begin(stack, FROZEN_SECONDS + 20)
    scheduler.suspend()
    try:
        time.sleep(FROZEN_SECONDS)
        assert scheduler.is_running()
    finally:
        with contextlib.suppress(psutil.NoSuchProcess):
            scheduler.resume()
    assert outcome(stack, run_id) == ("success", 1)
    assert journal_lines(stack, run_id) == ["1 begun", "1 ended"]
    assert seconds_until_work_flows(stack) < 60
