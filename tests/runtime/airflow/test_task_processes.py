"""Test that the processes of a task end with it, and the task with its supervisor."""

import importlib
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from datetime import timedelta
from types import SimpleNamespace

import psutil
import pytest
import structlog

from tests.runtime.airflow.supervised import patched_supervisor, requests_of, runtime

# Seconds that a process runs if nothing ends it, and within which all of them must end.
RUNS, SOON = 25, 12
# Starts a program as a daemon: in a session of its own, and no child of the task any more.
DAEMON = f"""
import os
if not os.fork():
    os.setsid()
    if not os.fork():
        os.execvp("sleep", ["sleep", "{RUNS}"])
    os._exit(0)
"""
# Prints a line when it ignores SIGTERM.
STUBBORN = f"""
import signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print("ready", flush=True)
time.sleep({RUNS})
"""


@pytest.fixture(scope="module")
def supervisor():
    module = patched_supervisor()
    # As in a worker, tasks find these imported.
    for name in ("airflow.sdk.bases.operator", "airflow.sdk.execution_time.task_runner"):
        importlib.import_module(name)
    return module


@pytest.fixture(autouse=True)
def short_waits(supervisor, monkeypatch):
    monkeypatch.setattr(supervisor, "MIN_HEARTBEAT_INTERVAL", 0.2)
    escalation = ((0, 0.1), (signal.SIGTERM, 0.5), (signal.SIGKILL, 0.5))
    module = runtime("airflow.patches.task_processes")
    monkeypatch.setattr(module, "ESCALATION", escalation)


@pytest.fixture
def started(tmp_path):
    """Return a file that exists once a task has started its processes."""
    return tmp_path / "started"


def child():
    subprocess.Popen(["sleep", str(RUNS)])


def child_in_session():
    subprocess.Popen(["sleep", str(RUNS)], start_new_session=True)


def daemon():
    subprocess.run([sys.executable, "-c", DAEMON], check=True)


def copy_of_the_task():
    if not os.fork():
        time.sleep(RUNS)
        os._exit(0)


def stubborn_child():
    program = subprocess.Popen([sys.executable, "-c", STUBBORN], stdout=subprocess.PIPE)
    program.stdout.readline()


KINDS = [child, child_in_session, daemon, copy_of_the_task, stubborn_child]


def descendants(pid):
    """Return the processes below a process that are no zombies."""
    with suppress(psutil.NoSuchProcess):
        processes = psutil.Process(pid).children(recursive=True)
        return {p for p in processes if p.status() != psutil.STATUS_ZOMBIE}
    return set()


def finish(supervisor, task, **options):
    """Run a task, check that it ends soon and leaves no process, and return its requests."""
    before, begin = descendants(os.getpid()), time.monotonic()
    try:
        return requests_of(supervisor, task, **options)
    finally:
        seconds = time.monotonic() - begin
        remaining = descendants(os.getpid()) - before
        for process in remaining:
            process.kill()
        assert not remaining
        assert seconds < SOON


def finish_killed(supervisor, started, task):
    """Run a task as `finish` does, and kill it once `started` exists."""
    return finish(supervisor, task, refuses=lambda name: name == "heartbeat" and started.exists())


def executed(execute, on_kill=lambda: None, **arguments):
    """Return a task that executes an operator with these methods, as Airflow's runner does."""

    def task():
        from airflow.sdk import BaseOperator
        from airflow.sdk.execution_time import task_runner

        operator = type("Work", (BaseOperator,), {
            "execute": lambda self, context: execute(), "on_kill": lambda self: on_kill(),
        })(task_id="t", **arguments)  # fmt: skip
        ti = SimpleNamespace(task=operator, _ti_context_from_server=None)
        task_runner._execute_task({"outlet_events": None}, ti, structlog.get_logger())

    return task


@pytest.mark.parametrize("start", KINDS)
def test_processes_that_a_task_leaves_end_at_once(supervisor, start):
    finish(supervisor, start)


def test_slot_is_free_at_once_without_descriptors_of_processes(supervisor, monkeypatch):
    def refuse(pid):
        raise PermissionError

    monkeypatch.setattr(os, "pidfd_open", refuse)
    finish(supervisor, copy_of_the_task)


@pytest.mark.parametrize("start", KINDS)
def test_processes_of_a_killed_task_end_with_it(supervisor, started, start):
    def task():
        start()
        started.touch()
        time.sleep(RUNS)

    requests = finish_killed(supervisor, started, task)
    assert "state" not in dict(requests)


def test_processes_that_cannot_be_ended_keep_no_slot(supervisor, monkeypatch):
    monkeypatch.setattr(psutil.Process, "send_signal", lambda self, number: None)
    before, begin, used = descendants(os.getpid()), time.monotonic(), time.process_time()
    requests_of(supervisor, copy_of_the_task)
    [process] = descendants(os.getpid()) - before
    os.kill(process.pid, signal.SIGKILL)
    os.waitpid(process.pid, 0)
    assert time.monotonic() - begin < SOON
    assert time.process_time() - used < 1


def test_other_children_of_the_supervisor_are_kept(supervisor):
    with subprocess.Popen(["sleep", str(RUNS)]) as other:
        finish(supervisor, child)
        assert other.poll() is None
        other.kill()


def test_task_whose_supervisor_fails_is_ended(supervisor):
    def task():
        from airflow.sdk.execution_time import comms, task_runner

        channel = task_runner.CommsDecoder(input=sys.stdin)
        channel.get_message()
        child_in_session()
        channel.send_request(structlog.get_logger(), comms.GetVariable(key="key"))
        time.sleep(RUNS)

    def fail(name):
        if name == "key":
            raise RuntimeError("no answer")

    with pytest.raises(RuntimeError, match="no answer"):
        finish(supervisor, task, refuses=fail)


@pytest.mark.parametrize("dies", ["supervisor", "scheduler"])
def test_task_ends_when_its_supervisor_or_scheduler_dies(supervisor, tmp_path, dies):
    def work():
        child_in_session()
        (tmp_path / "task").write_text(str(os.getpid()))
        time.sleep(RUNS)

    def supervise():
        (tmp_path / "supervisor").write_text(str(os.getpid()))
        requests_of(supervisor, executed(work, on_kill=(tmp_path / "killed").touch))

    def schedule():
        fork = multiprocessing.get_context("fork")
        worker = fork.Process(target=supervise)
        worker.start()
        worker.join()

    scheduler = multiprocessing.get_context("fork").Process(target=schedule)
    scheduler.start()
    deadline = time.monotonic() + SOON
    while not (tmp_path / "task").exists():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    processes = descendants(scheduler.pid)
    # The worker, the task and its program.
    assert len(processes) == 3
    pid = scheduler.pid if dies == "scheduler" else int((tmp_path / "supervisor").read_text())
    os.kill(pid, signal.SIGKILL)
    _, alive = psutil.wait_procs(processes, timeout=SOON)
    for process in alive:
        process.kill()
    scheduler.join()
    assert not alive
    assert (tmp_path / "killed").exists()


def test_killed_task_calls_on_kill_and_unwinds(supervisor, started, tmp_path):
    def work():
        try:
            started.touch()
            time.sleep(RUNS)
        finally:
            (tmp_path / "unwound").touch()

    finish_killed(supervisor, started, executed(work, on_kill=(tmp_path / "killed").touch))
    assert (tmp_path / "killed").exists()
    assert (tmp_path / "unwound").exists()


def test_task_that_survives_its_end_is_killed(supervisor, started, monkeypatch):
    monkeypatch.setattr(supervisor.ActivitySubprocess.kill, "__defaults__", (2, 0.3, False))

    def work():
        started.touch()
        while True:
            with suppress(BaseException):
                time.sleep(RUNS)

    finish_killed(supervisor, started, executed(work))


def test_failed_on_kill_does_not_keep_the_task_alive(supervisor, started):
    def work():
        child()
        started.touch()
        time.sleep(RUNS)

    finish_killed(supervisor, started, executed(work, on_kill=lambda: 1 / 0))


def test_timeout_calls_on_kill_before_a_program_exits(supervisor, tmp_path):
    def work():
        # Waits for the program when an exception is raised.
        with subprocess.Popen(["sleep", str(RUNS)], start_new_session=True) as program:
            program.wait()

    task = executed(
        work,
        on_kill=(tmp_path / "killed").touch,
        execution_timeout=timedelta(seconds=0.3),
    )
    requests = finish(supervisor, task)
    assert (tmp_path / "killed").exists()
    assert [body["state"] for name, body in requests if name == "state"] == ["failed"]


def test_copies_of_a_task_can_be_terminated(supervisor, tmp_path):
    def work():
        with multiprocessing.get_context("fork").Pool(1) as pool:
            pool.apply_async(time.sleep, (RUNS,))
            time.sleep(0.2)
        (tmp_path / "done").touch()

    finish(supervisor, executed(work, on_kill=(tmp_path / "killed").touch))
    assert (tmp_path / "done").exists()
    assert not (tmp_path / "killed").exists()
