"""Let tasks wait for a slot or for Redis: each runs once, in the order of priority, and none fails.

Only Docker has Redis and a worker. The standalone engine is in `test_semantics_slots.py`.
"""

import contextlib
import json
import re
import time
from datetime import UTC, datetime

import pytest

from tests.e2e.clone import until
from tests.e2e.faults import (
    FLOWS_SECONDS,
    begin,
    crash,
    journal_lines,
    outcome,
    paused,
    seconds_until_work_flows,
    start,
    stop,
    trigger,
)

DAGS = ("many", "eight", "urgent", "unserved")
# A queued task is checked after this time. It is ten minutes without this test.
QUEUED_SECONDS = 10
RUN_SECONDS = 240
CHECK = "/opt/stack/stack_runtime/healthchecks/worker_check.py"
APP = "airflow.providers.celery.executors.celery_executor.app"
# Code for the client of Redis, with the newest message that a worker has received.
NEWEST_MESSAGE = """
import json, os, redis, sys, time
client = redis.from_url(os.environ["AIRFLOW__CELERY__BROKER_URL"])
[tag] = client.zrange("unacked_index", -1, -1)
text = client.hget("unacked", tag)
"""
DELIVER_AGAIN = 'client.lpush("default", json.dumps(json.loads(text)[0]))'
# As a worker that was killed leaves them.
ADD_GHOSTS = """
for number in range(int(sys.argv[1])):
    client.hset("unacked", f"ghost{number}", text)
    client.zadd("unacked_index", {f"ghost{number}": time.time()})
"""
REMOVE_GHOSTS = """
for number in range(int(sys.argv[1])):
    client.hdel("unacked", f"ghost{number}")
    client.zrem("unacked_index", f"ghost{number}")
"""

pytestmark = pytest.mark.usefixtures("journal")


@pytest.fixture(scope="module", autouse=True)
def dags(engine, request):
    """Add the DAGs, and start the stack with a short time until a queued task is checked."""
    if engine != "docker":
        pytest.skip("the standalone engine has neither Redis nor a worker")
    stack = request.getfixturevalue("stack")
    stack.add_dags("semantics/waiting_tasks")
    with short_queue_timeout(stack):
        for dag_id in DAGS:
            until(lambda dag_id=dag_id: "dag_id" in stack.airflow(f"/api/v2/dags/{dag_id}"), 120)
        yield


@contextlib.contextmanager
def short_queue_timeout(stack):
    file = stack.folder / "orchestration/docker-compose.yaml"
    name, text = "AIRFLOW__SCHEDULER__TASK_QUEUED_TIMEOUT", file.read_text()
    lines = f'  {name}: "{QUEUED_SECONDS}"\n  {name}_CHECK_INTERVAL: "5"\n'
    file.write_text(re.sub("(?m)^  AIRFLOW__SCHEDULER__NUM_STUCK", rf"{lines}\g<0>", text))
    try:
        stack.run_ok("inv", "up", "--no-proof")
        yield
    finally:
        file.write_text(text)
        stack.run_ok("inv", "up", "--no-proof")


def requeue_count(stack):
    query = "SELECT count(*) FROM log WHERE event = 'stuck in queued reschedule'"
    psql = f'PGPASSWORD="$POSTGRES_PASSWORD" psql -h 127.0.0.1 -U postgres airflow -Atc "{query}"'
    return int(stack.exec_in("postgres", "bash", "-c", psql))


def slots_of(stack):
    slots = int(stack.setting("WORKER_CONCURRENCY"))
    assert slots >= 2, "these tests need two slots"
    return slots


def start_many(stack, number, seconds):
    """Start a run with a number of tasks, wait until the first of them runs, return its ID."""
    run_id = trigger(stack, "many", conf=json.dumps({"number": number, "seconds": seconds}))
    until(lambda: begun(stack, run_id), 60)
    return run_id


def begun(stack, run_id):
    """Return how often a task of a run has begun."""
    return sum(line.endswith("begun") for line in journal_lines(stack, run_id))


def await_success(stack, dag_id, run_id):
    path = f"/api/v2/dags/{dag_id}/dagRuns/{run_id}"
    until(lambda: stack.airflow(path)["state"] in ("success", "failed"), RUN_SECONDS)
    assert stack.airflow(path)["state"] == "success"


def ran_once(stack, run_id, number):
    """Check that each task of a run of `many` succeeds on its first try, which runs once."""
    await_success(stack, "many", run_id)
    lines = [f"{n} 1 {event}" for n in range(number) for event in ("begun", "ended")]
    assert sorted(journal_lines(stack, run_id)) == sorted(lines)


def end_run(stack, dag_id, run_id):
    address = f"{stack.url('AIRFLOW_PORT')}/api/v2/dags/{dag_id}/dagRuns/{run_id}"
    stack.session().patch(address, json={"state": "failed"}, timeout=30).raise_for_status()


def test_tasks_that_wait_while_the_worker_restarts_run_once(stack, figures):
    number, before = 3 * slots_of(stack), requeue_count(stack)
    run_id = start_many(stack, number, seconds=15)
    # The waiting tasks would be queued again now, and the worker would forget that.
    time.sleep(QUEUED_SECONDS + 2)
    started = time.monotonic()
    stop(stack, "airflow-worker")
    start(stack, "airflow-worker")
    ran_once(stack, run_id, number)
    figures["run ended after"] = time.monotonic() - started
    assert requeue_count(stack) == before


def test_queued_tasks_run_once_although_the_scheduler_is_killed(stack, figures):
    number = 4 * slots_of(stack)
    run_id = start_many(stack, number, seconds=4)
    started = time.monotonic()
    crash(stack, "airflow-scheduler")
    ran_once(stack, run_id, number)
    figures["run ended after"] = time.monotonic() - started


def test_urgent_task_starts_before_those_that_wait(stack, figures):
    slots = slots_of(stack)
    run_id = start_many(stack, 12 * slots, seconds=4)
    try:
        urgent = trigger(stack, "urgent")
        before = begun(stack, run_id)
        until(lambda: begun(stack, urgent), 60)
        figures["begun meanwhile"] = count = begun(stack, run_id) - before
    finally:
        end_run(stack, "many", run_id)
    # Until the urgent task is scheduled, each slot may take another one. Few are in Redis then.
    assert count <= 2 * slots + 4
    assert outcome(stack, urgent, "urgent") == ("success", 1)


def test_tasks_wait_while_redis_hangs(stack, figures):
    with paused(stack, "redis"):
        run_id = trigger(stack, "eight")
        ages = []
        for _ in range(9):
            time.sleep(5)
            ages.append(heartbeat_age(stack))
    figures["oldest heartbeat"] = max(ages)
    await_success(stack, "eight", run_id)
    assert begun(stack, run_id) == 8
    assert max(ages) < 30


def heartbeat_age(stack):
    heartbeat = stack.airflow("/api/v2/monitor/health")["scheduler"]["latest_scheduler_heartbeat"]
    return (datetime.now(UTC) - datetime.fromisoformat(heartbeat)).total_seconds()


def test_tasks_wait_while_redis_is_stopped(stack):
    stop(stack, "redis")
    run_id = trigger(stack, "eight")
    time.sleep(15)
    start(stack, "redis")
    await_success(stack, "eight", run_id)
    assert begun(stack, run_id) == 8


def redis_client(stack, code, *arguments):
    stack.exec_in("airflow-scheduler", "python", "-c", NEWEST_MESSAGE + code, *arguments)


def test_second_delivery_of_a_running_task_is_ignored(stack):
    run_id = begin(stack, 30)
    redis_client(stack, DELIVER_AGAIN)
    assert outcome(stack, run_id) == ("success", 1)
    assert journal_lines(stack, run_id) == ["1 begun", "1 ended"]
    command = ("sh", "-c", "redis-cli llen default")
    until(lambda: stack.exec_in("redis", *command).strip() == "0", 30)


def test_queue_that_nobody_serves_blocks_no_other(stack, figures):
    run_id = trigger(stack, "unserved")
    try:
        command = ("sh", "-c", "redis-cli llen nobody")
        until(lambda: stack.exec_in("redis", *command).strip() == "40", 60)
        figures["work flows after"] = seconds_until_work_flows(stack)
        assert figures["work flows after"] < FLOWS_SECONDS
    finally:
        end_run(stack, "unserved", run_id)
        stack.exec_in("redis", "redis-cli", "del", "nobody")


def check_code(stack):
    """Run the worker's health check, and return its exit code."""
    argv = ("docker", "exec", stack.container("airflow-worker"), "python", "-S", CHECK)
    return stack.run(*argv).returncode


def control(stack, command):
    stack.exec_in(
        "airflow-worker", "python", "-m", "celery", "-A", APP, "control", command, "default"
    )


def test_deaf_worker_is_noticed_despite_messages_of_a_killed_one(stack):
    slots, run_id = slots_of(stack), begin(stack, 60)
    redis_client(stack, ADD_GHOSTS, str(slots))
    try:
        control(stack, "cancel_consumer")
        until(lambda: check_code(stack) == 1, 30)
        control(stack, "add_consumer")
        until(lambda: check_code(stack) == 0, 30)
    finally:
        redis_client(stack, REMOVE_GHOSTS, str(slots))
    assert outcome(stack, run_id) == ("success", 1)


def test_worker_with_all_slots_in_use_is_healthy(stack):
    slots = slots_of(stack)
    run_id = start_many(stack, 2 * slots, seconds=10)
    until(lambda: begun(stack, run_id) == slots, 30)
    assert {check_code(stack) for _ in range(5)} == {0}
    ran_once(stack, run_id, 2 * slots)


def test_stopping_worker_is_not_killed(stack):
    run_id = begin(stack, 30)
    stopping = stack.start("docker", "stop", "-t", "300", stack.container("airflow-worker"))
    until(lambda: check_code(stack) == 3, 20)
    assert stopping.wait(120) == 0
    assert journal_lines(stack, run_id) == ["1 begun", "1 ended"]
    start(stack, "airflow-worker")
    until(lambda: check_code(stack) == 0, 60)
    assert outcome(stack, run_id) == ("success", 1)
