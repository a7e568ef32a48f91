"""Kills, pauses and cuts, each while a task runs: how long until work flows, and is any lost?

`nox -s faults -- kills` (`-k redis`); the shortest with every landing. Each ends with the canary,
and a line of the table in docs/resilience.md.
"""

import contextlib
import re
import time

import pytest

from tests.e2e.clone import SERVICES
from tests.e2e.faults import (
    FLOWS_SECONDS,
    RUNS_TASKS,
    begin,
    crash,
    cut_off,
    outcome,
    paused,
    seconds_until_work_flows,
    start,
    stop,
    survives,
    the_task,
    triggered,
    written,
)

pytestmark = pytest.mark.usefixtures("journal")


@pytest.fixture
def on_docker(engine):
    """Without it there is neither Redis nor a worker of its own."""
    if engine != "docker":
        pytest.skip("the standalone engine has no such part")


def test_what_runs_tasks_is_killed_in_mid_task(stack, engine, told):
    run_id = begin(stack)
    crash(stack, RUNS_TASKS[engine])
    survives(stack, told, run_id, {2})


def test_only_the_task_is_killed(stack, told):
    run_id = begin(stack, 10)
    the_task(stack).kill()
    survives(stack, told, run_id, {2})


def test_what_runs_tasks_is_stopped_while_one_runs(stack, engine, told):
    run_id = begin(stack, 30)
    stop(stack, RUNS_TASKS[engine])
    assert written(stack, run_id) == ["1 begun", "1 ended"]
    start(stack, RUNS_TASKS[engine])
    survives(stack, told, run_id, {1})


def test_the_worker_is_stopped_while_a_task_needs_longer_than_it_has(stack, told, on_docker):
    run_id = begin(stack)
    stack.well("docker", "stop", "-t", "5", stack.container("airflow-worker"))
    start(stack, "airflow-worker")
    survives(stack, told, run_id, {2})


def test_everything_is_taken_down_while_a_task_runs_and_brought_up_again(stack, told):
    run_id = begin(stack, 30)
    stack.well("inv", "down")
    stack.well("inv", "up")
    assert written(stack, run_id) == ["1 begun", "1 ended"]
    survives(stack, told, run_id, {1})


def test_the_scheduler_is_killed(stack, told, on_docker):
    run_id = begin(stack)
    crash(stack, "airflow-scheduler")
    survives(stack, told, run_id, {1})


def test_the_api_server_is_away_for_a_minute_while_a_task_ends(stack, told):
    run_id = begin(stack)
    stop(stack, "airflow-apiserver")
    time.sleep(60)
    start(stack, "airflow-apiserver")
    survives(stack, told, run_id, {1})


def test_redis_is_killed_with_tasks_in_the_queue(stack, told, on_docker):
    runs = [begin(stack)]
    runs += [
        triggered(stack, conf='{"seconds": 5}')
        for _ in range(2 * int(stack.setting("WORKER_CONCURRENCY")))
    ]
    crash(stack, "redis")
    survives(stack, told, runs[0], {1, 2})
    for run_id in runs[1:]:
        assert outcome(stack, run_id)[0] == "success"


def test_redis_is_killed_again_and_again_while_nothing_runs(stack, told, on_docker):
    flowed = []
    for _ in range(3):
        crash(stack, "redis")
        flowed.append(seconds_until_work_flows(stack))
    told["work flows after"] = max(flowed)
    assert max(flowed) < FLOWS_SECONDS


def test_redis_is_paused_for_75_seconds(stack, told, on_docker):
    run_id = begin(stack)
    with paused(stack, "redis"):
        time.sleep(75)
    survives(stack, told, run_id, {1})


def test_postgres_is_paused_for_30_seconds(stack, told):
    run_id = begin(stack)
    with paused(stack, "postgres"):
        time.sleep(30)
    # A scheduler without a worker beside it takes itself for dead after as long.
    survives(stack, told, run_id, {1} if stack.engine == "docker" else {1, 2})


def test_postgres_is_killed(stack, told):
    run_id = begin(stack)
    crash(stack, "postgres")
    survives(stack, told, run_id, {1, 2})


@pytest.mark.parametrize("service", ["redis", "airflow-worker"])
def test_a_service_is_cut_from_the_network_for_30_seconds(stack, told, on_docker, service):
    run_id = begin(stack)
    with cut_off(stack, service):
        time.sleep(30)
    survives(stack, told, run_id, {1})


def test_tasks_that_wait_for_places_are_queued_anew_and_not_failed(stack, told, on_docker):
    places = int(stack.setting("WORKER_CONCURRENCY"))
    with seconds_for_minutes(stack):
        runs = [triggered(stack, conf='{"seconds": 60}') for _ in range(2 * places)]
        for run_id in runs:
            assert outcome(stack, run_id) == ("success", 1)
            assert written(stack, run_id) == ["1 begun", "1 ended"]
    told["queued anew"] = anew = queued_anew(stack)
    # By itself Airflow fails a task at the third time.
    assert anew >= 3 * places


@contextlib.contextmanager
def seconds_for_minutes(stack):
    """A task that waits in Redis is taken for stuck after 10 s."""
    file = stack.folder / "orchestration/docker-compose.yaml"
    name, text = "AIRFLOW__SCHEDULER__TASK_QUEUED_TIMEOUT", file.read_text()
    added = f'  {name}: "10"\n  {name}_CHECK_INTERVAL: "5"\n'
    file.write_text(re.sub("(?m)^  AIRFLOW__SCHEDULER__NUM_STUCK", rf"{added}\g<0>", text))
    try:
        stack.well("inv", "up", "--no-proof")
        yield
    finally:
        file.write_text(text)
        stack.well("inv", "up", "--no-proof")


def queued_anew(stack):
    query = "SELECT count(*) FROM log WHERE event = 'stuck in queued reschedule'"
    psql = f'PGPASSWORD="$POSTGRES_PASSWORD" psql -h 127.0.0.1 -U postgres airflow -Atc "{query}"'
    return int(stack.inside("postgres", "bash", "-c", psql))


def test_everything_is_killed_at_once(stack, engine, told):
    run_id = begin(stack)
    crash(stack, *SERVICES[engine])
    stack.well("inv", "up")
    survives(stack, told, run_id, {2})
