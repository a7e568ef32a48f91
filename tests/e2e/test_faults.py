"""Kill, pause or disconnect services while a task runs, and check recovery time and lost work.

Run `nox -s faults -- kills`, for example with `-k redis`. The two shortest run before every merge.
Each test waits until the canary succeeds, and prints a row of the table in docs/resilience.md.
"""

import time

import pytest

from tests.e2e.clone import SERVICES
from tests.e2e.faults import (
    FLOWS_SECONDS,
    TASK_SERVICE,
    begin,
    crash,
    disconnected,
    journal_lines,
    outcome,
    paused,
    seconds_until_work_flows,
    start,
    stop,
    survives,
    task_process,
    trigger,
)

pytestmark = pytest.mark.usefixtures("journal")


@pytest.fixture
def on_docker(engine):
    """Skip without Docker, where neither Redis nor a separate worker exists."""
    if engine != "docker":
        pytest.skip("the standalone engine has no such service")


def test_task_service_killed_during_task(stack, engine, figures):
    run_id = begin(stack)
    crash(stack, TASK_SERVICE[engine])
    survives(stack, figures, run_id, {2})


def test_task_process_killed(stack, figures):
    run_id = begin(stack, 10)
    task_process(stack).kill()
    survives(stack, figures, run_id, {2})


def test_task_service_stopped_during_task(stack, engine, figures):
    run_id = begin(stack, 30)
    stop(stack, TASK_SERVICE[engine])
    assert journal_lines(stack, run_id) == ["1 begun", "1 ended"]
    start(stack, TASK_SERVICE[engine])
    survives(stack, figures, run_id, {1})


def test_worker_stopped_before_task_can_finish(stack, figures, on_docker):
    run_id = begin(stack)
    stack.run_ok("docker", "stop", "-t", "5", stack.container("airflow-worker"))
    start(stack, "airflow-worker")
    survives(stack, figures, run_id, {2})


def test_down_and_up_during_task(stack, figures):
    run_id = begin(stack, 30)
    stack.run_ok("inv", "down")
    stack.run_ok("inv", "up")
    assert journal_lines(stack, run_id) == ["1 begun", "1 ended"]
    survives(stack, figures, run_id, {1})


def test_scheduler_killed(stack, figures, on_docker):
    run_id = begin(stack)
    crash(stack, "airflow-scheduler")
    survives(stack, figures, run_id, {1})


def test_api_server_stopped_while_task_finishes(stack, figures):
    run_id = begin(stack)
    stop(stack, "airflow-apiserver")
    time.sleep(60)
    start(stack, "airflow-apiserver")
    survives(stack, figures, run_id, {1})


def test_redis_killed_with_queued_tasks(stack, figures, on_docker):
    runs = [begin(stack)]
    runs += [
        trigger(stack, conf='{"seconds": 5}')
        for _ in range(2 * int(stack.setting("WORKER_CONCURRENCY")))
    ]
    crash(stack, "redis")
    survives(stack, figures, runs[0], {1, 2})
    for run_id in runs[1:]:
        assert outcome(stack, run_id)[0] == "success"


def test_redis_killed_three_times_while_idle(stack, figures, on_docker):
    recovery_seconds = []
    for _ in range(3):
        crash(stack, "redis")
        recovery_seconds.append(seconds_until_work_flows(stack))
    figures["work flows after"] = max(recovery_seconds)
    assert max(recovery_seconds) < FLOWS_SECONDS


def test_redis_paused_for_75_seconds(stack, figures, on_docker):
    run_id = begin(stack)
    with paused(stack, "redis"):
        time.sleep(75)
    survives(stack, figures, run_id, {1})


def test_postgres_paused_for_30_seconds(stack, figures):
    run_id = begin(stack)
    with paused(stack, "postgres"):
        time.sleep(30)
    # Without Docker, the scheduler considers itself dead after 30 s, and may retry its task.
    survives(stack, figures, run_id, {1} if stack.engine == "docker" else {1, 2})


def test_postgres_killed(stack, figures):
    run_id = begin(stack)
    crash(stack, "postgres")
    survives(stack, figures, run_id, {1, 2})


@pytest.mark.parametrize("service", ["redis", "airflow-worker"])
def test_service_disconnected_for_30_seconds(stack, figures, on_docker, service):
    run_id = begin(stack)
    with disconnected(stack, service):
        time.sleep(30)
    survives(stack, figures, run_id, {1})


def test_all_services_killed_at_once(stack, engine, figures):
    run_id = begin(stack)
    crash(stack, *SERVICES[engine])
    stack.run_ok("inv", "up")
    survives(stack, figures, run_id, {2})
