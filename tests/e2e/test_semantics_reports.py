"""Let work stop in each way that `inv health`, `inv doctor` and the status page must name.

Where this would take minutes, a statement changes times or states in Airflow's database.
Run `nox -s semantics -- -k reports` (`standalone` first for that engine).
"""

import json
import time

import pytest

from tests.e2e.clone import until
from tests.e2e.faults import psql, trigger

FILE = "reports.py"
# The status page asks every 10 s.
SHOWN_SECONDS = 60
# Airflow's scheduler leaves tasks of an unknown job alone.
UNKNOWN_JOB = "queued_by_job_id = -1"


@pytest.fixture(scope="module", autouse=True)
def dags(stack):
    stack.add_dags("semantics/reports")
    for dag_id in ("busy", "narrow", "elsewhere"):
        until(lambda dag_id=dag_id: "dag_id" in stack.airflow(f"/api/v2/dags/{dag_id}"), 120)
    yield
    (stack.folder / "dags" / FILE).unlink(missing_ok=True)


@pytest.fixture(autouse=True)
def healthy_around_test(stack):
    """Require a healthy stack before and after each test."""
    until(lambda: stack.health()["status"] == "healthy", 90)
    yield
    until(lambda: stack.health()["status"] == "healthy", 90)


@pytest.fixture
def on_docker(engine):
    if engine != "docker":
        pytest.skip("the standalone engine has no Redis and serves all queues")


@pytest.fixture
def run(stack):
    """Return a function that starts a run, which ends with the test."""
    runs = []

    def run(dag_id, **conf):
        runs.append((dag_id, trigger(stack, dag_id, conf=json.dumps(conf))))
        return runs[-1][1]

    yield run
    for dag_id, run_id in runs:
        end_run(stack, dag_id, run_id)


@pytest.fixture
def finished(stack, run):
    """Return the condition of a finished task, which gets its state back after the test."""
    run_id = run("busy")
    until(lambda: run_state(stack, run_id) == "success", 120)
    condition = f"run_id = '{run_id}' AND task_id = 'work'"
    yield condition
    update_tasks(stack, "state = 'success'", condition)


def end_run(stack, dag_id, run_id):
    address = f"{stack.url('AIRFLOW_PORT')}/api/v2/dags/{dag_id}/dagRuns/{run_id}"
    stack.session().patch(address, json={"state": "failed"}, timeout=30).raise_for_status()


def run_state(stack, run_id):
    return stack.airflow(f"/api/v2/dags/busy/dagRuns/{run_id}")["state"]


def tasks_in(stack, dag_id, state):
    path = f"/api/v2/dags/{dag_id}/dagRuns/~/taskInstances?state={state}"
    return stack.airflow(path)["total_entries"]


def update_tasks(stack, values, condition):
    psql(stack, f"UPDATE task_instance SET {values} WHERE {condition}", "airflow")


def use_all_slots(stack, run, *, more, seconds):
    slots = int(stack.setting("WORKER_CONCURRENCY"))
    run("busy", number=slots + more, seconds=seconds)
    until(lambda: tasks_in(stack, "busy", "running") == slots, 60)


def check_report(stack, name, code, text):
    """Wait for a result on the status page, and check that both commands name it."""
    until(lambda: text in stack.status_page().get(name, {}).get("detail", ""), SHOWN_SECONDS)
    done = stack.run("inv", "health")
    assert done.returncode == 1
    assert f"degraded ({stack.engine})" in done.stdout
    assert f"\n{name}: " in done.stdout
    assert done.stdout.endswith("Run: inv doctor\n")
    assert f"{code} (" in stack.run("inv", "doctor").stdout


def test_queue_that_nobody_serves_is_reported(stack, on_docker, run, figures):
    started = time.monotonic()
    run("elsewhere")
    try:
        check_report(stack, "queues", "queue-unserved", "1 waiting in nobody")
        figures["reported after"] = time.monotonic() - started
    finally:
        stack.exec_in("redis", "redis-cli", "del", "nobody")


def test_task_that_waits_for_a_full_pool_is_reported(stack, run):
    pools = f"{stack.url('AIRFLOW_PORT')}/api/v2/pools"
    body = {"name": "closed", "slots": 0}
    stack.session().post(pools, json=body, timeout=30).raise_for_status()
    try:
        run("narrow")
        until(lambda: tasks_in(stack, "narrow", "scheduled") == 1, 60)
        ages = "scheduled_dttm = now() - interval '11 minutes'"
        update_tasks(stack, ages, "dag_id = 'narrow' AND state = 'scheduled'")
        check_report(stack, "waiting-tasks", "tasks-wait", "pool closed is full")
    finally:
        stack.session().delete(f"{pools}/closed", timeout=30).raise_for_status()


def test_task_that_waits_for_a_slot_is_reported(stack, engine, run):
    state = "queued" if engine == "docker" else "scheduled"
    use_all_slots(stack, run, more=1, seconds=120)
    until(lambda: tasks_in(stack, "busy", state) == 1, 60)
    ages = f"{state}_dttm = now() - interval '11 minutes'"
    update_tasks(stack, ages, f"dag_id = 'busy' AND state = '{state}'")
    check_report(stack, "waiting-tasks", "tasks-wait", "all slots are busy")


def test_task_whose_message_is_lost_is_reported(stack, on_docker, finished):
    values = f"state = 'queued', queued_dttm = now() - interval '4 minutes', {UNKNOWN_JOB}"
    update_tasks(stack, values, finished)
    check_report(stack, "waiting-tasks", "tasks-wait", "a worker is free, but none is in Redis")
    received = str(time.time() - 600)
    stack.exec_in("redis", "redis-cli", "zadd", "unacked_index", received, "ghost")
    try:
        text = "one that is gone has 1 of them"
        check_report(stack, "waiting-tasks", "tasks-wait", text)
        assert "1 of them without a running task" in stack.status_page()["airflow-worker"]["detail"]
    finally:
        stack.exec_in("redis", "redis-cli", "zrem", "unacked_index", "ghost")


@pytest.mark.parametrize("state", ["running", "restarting"])
def test_task_without_heartbeat_is_reported(stack, finished, state):
    values = f"last_heartbeat_at = now() - interval '10 minutes', {UNKNOWN_JOB}"
    update_tasks(stack, f"state = '{state}', {values}", finished)
    text = "a task of DAG busy has sent no heartbeat for 10 min"
    check_report(stack, "silent-tasks", "task-silent", text)


def test_canary_that_waits_is_reported(stack, run, figures):
    use_all_slots(stack, run, more=0, seconds=90)
    deep = stack.run("inv", "health", "--deep")
    assert deep.returncode == 1
    assert "canary: waited " in deep.stdout
    check_report(stack, "canary", "canary-waited", "waited 1 min in the queue")
    # The next one does not wait.
    started = time.monotonic()
    stack.run_ok("inv", "health", "--deep")
    figures["next canary took"] = time.monotonic() - started


def test_stale_dags_are_reported_while_their_file_exists(stack):
    def reported(*command):
        # Airflow parses the file again at any time.
        psql(stack, f"UPDATE dag SET is_stale = true WHERE relative_fileloc = '{FILE}'", "airflow")
        return stack.run(*command)

    until(lambda: f"stale-dags: {FILE}: " in reported("inv", "health").stdout, SHOWN_SECONDS, 2)
    until(lambda: "dags-stale (dags/)" in reported("inv", "doctor").stdout, SHOWN_SECONDS, 2)
    (stack.folder / "dags" / FILE).unlink()
    done = stack.run("inv", "health")
    assert (done.returncode, "stale-dags" in done.stdout) == (0, False), done.stdout
