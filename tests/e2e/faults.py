"""Faults made for real on either engine while a task runs, and what is asked after each."""

import contextlib
import os
import re
import signal
import time

import psutil

from tests.e2e.clone import Clone, until

# A task that was interrupted has succeeded on a later try by then.
RETRIED_SECONDS = 300
FLOWS_SECONDS = 60
TASK_SECONDS = 20
# What a task's process calls itself: its executor's have such names too.
TITLE = re.compile(r"airflow worker -- [0-9a-f]{8}-")
# Where tasks run.
RUNS_TASKS = {"docker": "airflow-worker", "standalone": "airflow-scheduler"}


def pid_of(stack: Clone, *service: str) -> int:
    """The process that a service was started as, by this machine's count.

    Without Docker and without a service, supervisord's own.
    """
    if stack.engine == "docker":
        shown = stack.well("docker", "inspect", "-f", "{{.State.Pid}}", stack.container(*service))
        return int(shown)
    return int(stack.well("supervisorctl", "-s", stack.supervisor(), "pid", *service))


def restarts(stack: Clone, service: str) -> int:
    """How often Docker has started a container anew."""
    shown = stack.well("docker", "inspect", "-f", "{{.RestartCount}}", stack.container(service))
    return int(shown)


def tree(stack: Clone, service: str) -> list[psutil.Process]:
    """All processes of a service, the first one first."""
    first = psutil.Process(pid_of(stack, service))
    return [first, *first.children(recursive=True)]


def crash(stack: Clone, *services: str) -> None:
    """End services as a crash would: `docker kill` counts as an order, and nothing restarts."""
    for pid in [pid_of(stack, service) for service in services]:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def stop(stack: Clone, service: str) -> None:
    """Stop a service as an order, so that nothing starts it anew."""
    if stack.engine == "docker":
        stack.well("docker", "stop", "-t", "120", stack.container(service))
    else:
        stack.well("supervisorctl", "-s", stack.supervisor(), "stop", service)


def start(stack: Clone, service: str) -> None:
    """Start a service that was stopped."""
    if stack.engine == "docker":
        stack.well("docker", "start", stack.container(service))
    else:
        stack.well("supervisorctl", "-s", stack.supervisor(), "start", service)


@contextlib.contextmanager
def paused(stack: Clone, service: str):
    """A service whose processes all stand still meanwhile."""
    if stack.engine == "docker":
        stack.well("docker", "pause", stack.container(service))
        yield
        stack.well("docker", "unpause", stack.container(service))
        return
    processes = tree(stack, service)
    for process in processes:
        process.suspend()
    yield
    for process in processes:
        process.resume()


@contextlib.contextmanager
def cut_off(stack: Clone, service: str):
    """A service's container that is in no network meanwhile, as if its cables were drawn."""
    container = stack.container(service)
    shown = "{{range $name, $_ := .NetworkSettings.Networks}}{{$name}} {{end}}"
    networks = stack.well("docker", "inspect", "-f", shown, container).split()
    for network in networks:
        stack.well("docker", "network", "disconnect", network, container)
    yield
    for network in networks:
        stack.well("docker", "network", "connect", "--alias", service, network, container)


def the_task(stack: Clone) -> psutil.Process:
    """The process of the one task that runs."""
    [found] = [
        process
        for process in tree(stack, RUNS_TASKS[stack.engine])
        if TITLE.match(" ".join(process.cmdline()))
    ]
    return found


def triggered(stack: Clone, dag: str = "journal", *options: str, conf: str = "{}") -> str:
    """Start a run; its id."""
    said = stack.well("inv", "trigger", dag, "--conf", conf, *options)
    return re.search(r"run (\S+) started", said)[1]


def begin(stack: Clone, seconds: int = TASK_SECONDS) -> str:
    """Start a run of the journal and wait until its task has begun."""
    run_id = triggered(stack, conf=f'{{"seconds": {seconds}}}')
    until(lambda: written(stack, run_id) == ["1 begun"], 60)
    return run_id


def written(stack: Clone, run_id: str) -> list[str]:
    """What the tries of a run have written down."""
    if stack.engine == "docker":
        shown = ("sh", "-c", "cat /opt/airflow/data/journal || true")
        lines = stack.inside("airflow-dag-processor", *shown).splitlines()
    else:
        file = stack.state_folder() / "data/journal"
        lines = file.read_text().splitlines() if file.exists() else []
    return [line.removeprefix(f"{run_id} ") for line in lines if line.startswith(run_id)]


def seconds_until_work_flows(stack: Clone) -> float:
    """Send canaries until one comes back well."""
    started = time.monotonic()
    while stack.run("inv", "health", "--deep").returncode:
        assert time.monotonic() - started < 3 * FLOWS_SECONDS, stack.run("inv", "health").stdout
    return time.monotonic() - started


def outcome(
    stack: Clone, run_id: str, dag: str = "journal", limit: float = RETRIED_SECONDS
) -> tuple[str, int]:
    """Wait for a run's end; its state, and the try that its task ended with."""
    path = f"/api/v2/dags/{dag}/dagRuns/{run_id}"
    until(lambda: stack.airflow(path)["state"] in ("success", "failed"), limit)
    [task] = stack.airflow(f"{path}/taskInstances")["task_instances"]
    assert stack.airflow(path)["state"] == task["state"]
    return task["state"], task["try_number"]


def survives(stack: Clone, told: dict[str, float], run_id: str, tries: set[int]) -> None:
    """Work flows soon; the run succeeds with one of `tries`, and ended once only."""
    started = time.monotonic()
    told["work flows after"] = seconds_until_work_flows(stack)
    state, number = outcome(stack, run_id)
    told["run ended after"], told["try"] = time.monotonic() - started, number
    assert (state, number in tries) == ("success", True), number
    ended = [line for line in written(stack, run_id) if line.endswith("ended")]
    # Without containers a task outlives its scheduler until it asks the API server next, and may
    # come to its end beside its second try.
    assert (ended if stack.engine == "docker" else ended[-1:]) == [f"{number} ended"]
    assert told["work flows after"] < FLOWS_SECONDS
