"""Real faults on Docker, each while a task runs: how long until work flows, and is any of it lost?

By hand (`nox -s faults`, `-- -k redis`): each ends with the canary, and a line of the table in
docs/faults.md.
"""

import contextlib
import os
import re
import signal
import time

import psutil
import pytest

from tests.smoke.clone import until

# A task that was interrupted has succeeded on a later try by then.
RETRIED_SECONDS = 300
FLOWS_SECONDS = 60
TASK_SECONDS = 20
EVERYTHING = [
    "airflow-scheduler", "airflow-worker", "airflow-apiserver", "airflow-dag-processor",
    "airflow-triggerer", "mlflow", "redis", "postgres", "status",
]  # fmt: skip


@pytest.fixture(scope="module", autouse=True)
def known_dag(stack):
    """The DAG of these tests, parsed."""
    stack.add_dags("journal")
    until(lambda: "dag_id" in stack.airflow("/api/v2/dags/journal"), 120)


@pytest.fixture
def told(request, capsys):
    """Tells a line of the table once the test has ended."""
    figures = {}
    yield figures
    line = " | ".join(f"{name} {value:.0f} s" for name, value in figures.items())
    with capsys.disabled():
        print(f"\n{request.node.name.removeprefix('test_')} | {line}")


def state(stack, service):
    shown = "{{.State.Pid}} {{.State.Running}} {{.RestartCount}}"
    pid, running, restarts = stack.well(
        "docker", "inspect", "-f", shown, stack.container(service)
    ).split()
    return int(pid), running == "true", int(restarts)


def crash(stack, *services):
    """End services as a crash would: `docker kill` counts as an order, and nothing restarts."""
    pids = [state(stack, service)[0] for service in services]
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def begin(stack, seconds=TASK_SECONDS):
    """Start a run of the journal and wait until its task has begun."""
    conf = f'{{"seconds": {seconds}}}'
    said = stack.well("inv", "trigger", "journal", "--conf", conf)
    run_id = re.search(r"run (\S+) started", said)[1]
    until(lambda: written(stack, run_id) == ["1 begun"], 60)
    return run_id


def written(stack, run_id):
    """What the tries of a run have written down."""
    file = "/opt/airflow/data/journal"
    lines = stack.inside("airflow-dag-processor", "sh", "-c", f"cat {file} || true").splitlines()
    return [line.removeprefix(f"{run_id} ") for line in lines if line.startswith(run_id)]


def seconds_until_work_flows(stack):
    """Send canaries until one comes back well."""
    started = time.monotonic()
    while stack.run("inv", "health", "--deep").returncode:
        assert time.monotonic() - started < 3 * FLOWS_SECONDS, stack.run("inv", "health").stdout
    return time.monotonic() - started


def outcome(stack, run_id, limit=RETRIED_SECONDS):
    """Wait for a run's end; its state, and the try that its task ended with."""
    path = f"/api/v2/dags/journal/dagRuns/{run_id}"
    until(lambda: stack.airflow(path)["state"] in ("success", "failed"), limit)
    [task] = stack.airflow(f"{path}/taskInstances")["task_instances"]
    assert stack.airflow(path)["state"] == task["state"]
    return task["state"], task["try_number"]


def survives(stack, told, run_id, tries):
    """Work flows soon; the run succeeds with one of `tries`, and ended once only."""
    started = time.monotonic()
    told["work flows after"] = seconds_until_work_flows(stack)
    state, number = outcome(stack, run_id)
    told["run ended after"] = time.monotonic() - started
    assert (state, number in tries) == ("success", True), number
    assert [line for line in written(stack, run_id) if line.endswith("ended")] == [
        f"{number} ended"
    ]
    assert told["work flows after"] < FLOWS_SECONDS


def test_the_worker_is_killed_in_mid_task(stack, told):
    run_id = begin(stack)
    crash(stack, "airflow-worker")
    survives(stack, told, run_id, {2})


def test_only_the_task_is_killed(stack, told):
    run_id = begin(stack, 60)
    listed = stack.well("docker", "top", stack.container("airflow-worker"), "-eo", "pid,args")
    [pid] = re.findall(r"^\s*(\d+) +airflow worker -- ", listed, re.MULTILINE)
    os.kill(int(pid), signal.SIGKILL)
    survives(stack, told, run_id, {2})


def test_the_worker_is_stopped_while_a_task_runs(stack, told):
    run_id = begin(stack, 30)
    stack.well("docker", "stop", "-t", "120", stack.container("airflow-worker"))
    assert written(stack, run_id) == ["1 begun", "1 ended"]
    stack.well("docker", "start", stack.container("airflow-worker"))
    survives(stack, told, run_id, {1})


def test_the_scheduler_is_killed(stack, told):
    run_id = begin(stack)
    crash(stack, "airflow-scheduler")
    survives(stack, told, run_id, {1})


def test_the_api_server_is_away_for_a_minute_while_a_task_ends(stack, told):
    run_id = begin(stack)
    stack.well("docker", "stop", stack.container("airflow-apiserver"))
    time.sleep(60)
    stack.well("docker", "start", stack.container("airflow-apiserver"))
    survives(stack, told, run_id, {1})


def test_redis_is_killed_with_tasks_in_the_queue(stack, told):
    runs = [begin(stack)]
    for _ in range(2 * int(stack.setting("WORKER_CONCURRENCY"))):
        said = stack.well("inv", "trigger", "journal", "--conf", '{"seconds": 5}')
        runs.append(re.search(r"run (\S+) started", said)[1])
    crash(stack, "redis")
    survives(stack, told, runs[0], {1, 2})
    for run_id in runs[1:]:
        assert outcome(stack, run_id)[0] == "success"


@pytest.mark.parametrize(("service", "seconds"), [("redis", 75), ("postgres", 30)])
def test_a_store_is_paused(stack, told, service, seconds):
    run_id = begin(stack)
    stack.well("docker", "pause", stack.container(service))
    time.sleep(seconds)
    stack.well("docker", "unpause", stack.container(service))
    survives(stack, told, run_id, {1})


def test_postgres_is_killed(stack, told):
    run_id = begin(stack)
    crash(stack, "postgres")
    survives(stack, told, run_id, {1, 2})


def test_the_network_between_worker_and_redis_is_cut_for_30_seconds(stack, told):
    run_id, network = begin(stack), f"{stack.setting('COMPOSE_PROJECT_NAME')}_default"
    stack.well("docker", "network", "disconnect", network, stack.container("redis"))
    time.sleep(30)
    redis = ["--alias", "redis", network, stack.container("redis")]
    stack.well("docker", "network", "connect", *redis)
    survives(stack, told, run_id, {1})


def test_everything_is_killed_at_once(stack, told):
    run_id = begin(stack)
    crash(stack, *EVERYTHING)
    stack.well("inv", "up")
    survives(stack, told, run_id, {2})


FROZEN = ["airflow-scheduler", "airflow-dag-processor", "airflow-triggerer", "airflow-worker",
          "airflow-apiserver", "mlflow", "redis", "postgres"]  # fmt: skip


@pytest.mark.parametrize("service", FROZEN)
def test_a_frozen_service_is_started_anew(stack, told, service):
    """What PID 1 started is stopped, not PID 1; its health check ends it, its policy starts it."""
    pid, _, restarts = state(stack, service)
    until(lambda: seconds_up(pid) > 125, 130)
    for child in psutil.Process(pid).children():
        child.suspend()
    started = time.monotonic()
    until(lambda: state(stack, service)[2] > restarts, 300)
    told["started anew after"] = time.monotonic() - started
    told["work flows after"] = seconds_until_work_flows(stack)


def seconds_up(pid):
    return time.time() - psutil.Process(pid).create_time()
