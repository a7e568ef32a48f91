"""Test the executor of the standalone engine with real processes and Airflow's database."""

import importlib
import os
import select
import signal
import socket
import time
from collections import Counter
from contextlib import contextmanager
from datetime import timedelta
from types import SimpleNamespace
from uuid import uuid4

import pytest

from tests.runtime.airflow import database
from tests.runtime.airflow.supervised import patched_supervisor, runtime

SLOTS = 3
# More than a pipe contains.
BACKLOG = 200
DAG = """
from datetime import datetime

from airflow.sdk import dag, task


@dag(schedule=None, start_date=datetime(2026, 1, 1))
def local():
    @task(retries=1)
    def work(): ...

    work()


local()
"""


@pytest.fixture(scope="module")
def module():
    """Airflow's module with all patches applied."""
    patched_supervisor()
    return importlib.import_module("airflow.executors.local_executor")


class Tasks:
    """Tasks that write their names when they start, and run until a file says how to exit."""

    def __init__(self, folder):
        self.folder = folder

    def execute(self, log, workload):
        name = workload.ti.task_id
        with (self.folder / "started").open("a") as file:
            print(name, file=file, flush=True)
        while not (end := self.folder / name).exists():
            time.sleep(0.005)
        exec(end.read_text())

    def started(self):
        file = self.folder / "started"
        return file.read_text().split() if file.exists() else []

    def finish(self, *names, code="pass"):
        for name in names:
            # A task must not see half of it.
            (self.folder / "new").write_text(code)
            (self.folder / "new").rename(self.folder / name)


@pytest.fixture
def tasks(tmp_path):
    return Tasks(tmp_path)


@pytest.fixture
def executor(module, tasks):
    executor = module.LocalExecutor(parallelism=SLOTS)
    executor.execute = tasks.execute
    executor.start()
    yield executor
    for process in executor.processes.values():
        process.kill()
    executor.end()


def workload(name, priority=1, key=None):
    from airflow.executors import workloads

    key = key or {"dag_id": "d", "task_id": name, "run_id": "r", "try_number": 1, "map_index": -1}
    ti = workloads.TaskInstance(
        id=uuid4(), pool_slots=1, queue="default", priority_weight=priority, **key
    )
    bundle = workloads.BundleInfo(name="dags-folder")
    return workloads.ExecuteTask(
        ti=ti, token="", dag_rel_path="d.py", bundle_info=bundle, log_path=None
    )


def queue(executor, *names, **options):
    works = [workload(name, **options) for name in names]
    for work in works:
        executor.queue_workload(work, session=None)
    executor.heartbeat()
    return [work.ti.key for work in works]


def until(condition, seconds=20):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def heartbeats_until(executor, condition):
    def round_of_scheduler():
        executor.heartbeat()
        return condition()

    until(round_of_scheduler)


@contextmanager
def at_most(seconds):
    """Interrupt a block that takes longer."""

    def interrupt(*_):
        raise TimeoutError

    previous = signal.signal(signal.SIGALRM, interrupt)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)


def test_each_task_starts_while_slots_are_free(executor, tasks):
    for number in range(SLOTS):
        queue(executor, f"task{number}")
        until(lambda count=number + 1: len(tasks.started()) == count)


def test_tasks_never_run_on_more_than_all_slots(executor, tasks):
    names = [f"task{number}" for number in range(3 * SLOTS)]
    queue(executor, *names)
    for finished in range(len(names)):
        expected = min(len(names), finished + SLOTS)
        heartbeats_until(executor, lambda count=expected: len(tasks.started()) == count)
        executor.heartbeat()
        assert executor.slots_occupied == len(names) - finished
        assert len(executor.running) == min(SLOTS, len(names) - finished)
        tasks.finish(tasks.started()[finished])
        heartbeats_until(executor, lambda: len(executor.event_buffer) == 1)
        assert [state for state, _ in executor.get_event_buffer().values()] == ["success"]
    assert sorted(tasks.started()) == names


def test_task_with_higher_priority_starts_first(executor, tasks):
    names = [f"task{number}" for number in range(SLOTS)]
    queue(executor, *names)
    queue(executor, "normal")
    queue(executor, "urgent", priority=9)
    until(lambda: len(tasks.started()) == SLOTS)
    tasks.finish("task0")
    heartbeats_until(executor, lambda: len(tasks.started()) > SLOTS)
    assert tasks.started()[-1] == "urgent"


def test_backlog_does_not_block_the_scheduler(executor, tasks):
    names = [f"task{number}" for number in range(BACKLOG)]
    with at_most(20):
        queue(executor, *names)
        executor.heartbeat()
    assert executor.slots_available < 0


def test_exit_frees_slot_and_wakes_the_scheduler(executor, tasks):
    keys = queue(executor, "short", "long")
    until(lambda: len(tasks.started()) == 2)
    watched = runtime("airflow.patches.wake_ups").WATCHED
    assert select.select(watched, [], [], 0) == ([], [], [])
    tasks.finish("short")
    assert select.select(watched, [], [], 20)[0]
    heartbeats_until(executor, lambda: len(watched) == 1)
    assert executor.get_event_buffer() == {keys[0]: ("success", None)}
    assert executor.running == {keys[1]}


def test_scheduler_pause_ends_when_a_process_exits(executor, tasks):
    # A connection without notifications.
    ours, _theirs = socket.socketpair()
    connection = SimpleNamespace(fileno=ours.fileno, poll=lambda: None, notifies=[])
    listener = runtime("airflow.patches.wake_ups").Listener("scheduler", "unused")
    listener.connection, listener.tried = connection, time.monotonic()
    queue(executor, "task")
    until(tasks.started)
    tasks.finish("task")
    started = time.monotonic()
    assert not listener.wait(20)
    assert time.monotonic() - started < 10


@pytest.mark.parametrize(
    ("code", "exit_code"),
    [("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", -9), ("raise OSError('no')", 1)],
)
def test_failed_supervisor_is_reported_and_frees_slot(executor, tasks, code, exit_code):
    [key] = queue(executor, "task")
    until(tasks.started)
    tasks.finish("task", code=code)
    heartbeats_until(executor, lambda: not executor.running)
    info = f"its process exited with code {exit_code}"
    assert executor.get_event_buffer() == {key: ("failed", info)}


def test_task_queued_again_waits_for_its_process(executor, tasks):
    [key] = queue(executor, "sensor")
    until(tasks.started)
    [again] = queue(executor, "sensor")
    assert again == key
    executor.heartbeat()
    assert (list(executor.queued_tasks), len(executor.processes)) == ([key], 1)
    tasks.finish("sensor")
    heartbeats_until(executor, lambda: tasks.started() == ["sensor"] * 2)


def test_revoked_task_does_not_start(executor, tasks):
    queue(executor, *(f"task{number}" for number in range(SLOTS)))
    [key] = queue(executor, "revoked")
    executor.revoke_task(ti=SimpleNamespace(key=key))
    assert executor.slots_occupied == SLOTS
    # Tasks that have started cannot be revoked here.
    executor.revoke_task(ti=SimpleNamespace(key=next(iter(executor.running))))
    assert executor.slots_occupied == SLOTS


def test_task_declared_dead_keeps_its_slot_until_its_process_exits(executor, tasks):
    names = [f"task{number}" for number in range(SLOTS)]
    keys = queue(executor, *names)
    until(lambda: len(tasks.started()) == SLOTS)
    executor.change_state(keys[0], "failed", remove_running=True)
    queue(executor, "next")
    executor.heartbeat()
    assert len(executor.processes) == SLOTS
    tasks.finish("task0")
    heartbeats_until(executor, lambda: tasks.started()[-1] == "next")


def test_stop_waits_for_running_tasks_only(executor, tasks):
    names = [f"task{number}" for number in range(SLOTS)]
    queue(executor, *names, "waiting")
    until(lambda: len(tasks.started()) == SLOTS)
    pids = [process.pid for process in executor.processes.values()]
    for pid in pids:
        # A service manager may send it to all processes.
        os.kill(pid, signal.SIGTERM)
    tasks.finish(*names)
    executor.end()
    assert len(executor.get_event_buffer()) == SLOTS
    assert sorted(tasks.started()) == names


@pytest.fixture(scope="module")
def scheduler(module, tmp_path_factory):
    from airflow.models.pool import Pool

    database.create()
    file = tmp_path_factory.mktemp("dags") / "local.py"
    file.write_text(DAG)
    database.add_dags(file)
    Pool.create_or_update_pool("default_pool", slots=128, description="", include_deferred=False)
    return importlib.import_module("airflow.jobs.scheduler_job_runner")


@pytest.fixture
def session(scheduler):
    from airflow.utils.session import create_session

    with create_session(scoped=False) as session:
        yield session


@pytest.fixture
def runner(scheduler, session, executor):
    from airflow.jobs.job import Job
    from airflow.models.dagrun import DagRun

    # Runs of other tests.
    session.query(DagRun).update({"state": "success"})
    job = Job(executor=executor, job_type="SchedulerJob")
    session.add(job)
    session.commit()
    return scheduler.SchedulerJobRunner(job=job)


@pytest.fixture
def start(session, runner, tasks):
    """Return a function that starts a task in the database, then sets its state."""

    def start(state):
        run_id = uuid4().hex
        database.add_run("local", run_id)
        ti = database.task_instance(session, "work", run_id)
        ti.try_number, ti.queued_by_job_id, ti.state = 1, runner.job.id, state
        session.commit()
        key = {"dag_id": "local", "task_id": "work", "run_id": run_id, "try_number": 1}
        queue(runner.job.executor, "work", key=key)
        until(tasks.started)
        return ti

    return start


def end(runner, tasks, code="pass"):
    """Let the running task exit, and wait until the executor knows."""
    executor = runner.job.executor
    tasks.finish("work", code=code)
    until(lambda: not any(process.is_alive() for process in executor.processes.values()))
    executor.sync()


def state_after_events(session, runner, ti):
    from airflow.utils.session import create_session

    with create_session() as own:
        runner._process_executor_events(executor=runner.job.executor, session=own)
    return database.task_instance(session, "work", ti.run_id).state


# Without a free slot, a task that is due stays scheduled until the end of its own process.
@pytest.mark.parametrize("state", ["scheduled", "queued"])
def test_task_due_again_does_not_fail_when_its_process_ends(session, runner, tasks, start, state):
    ti = start(state)
    end(runner, tasks)
    assert state_after_events(session, runner, ti) == state


@pytest.mark.parametrize("state", ["queued", "running"])
def test_task_of_failed_supervisor_is_retried(session, runner, tasks, start, state):
    ti = start(state)
    end(runner, tasks, code="import sys; sys.exit(1)")
    assert state_after_events(session, runner, ti) == "up_for_retry"


def test_task_without_heartbeats_is_retried(session, runner, tasks, start):
    from airflow.utils.state import TaskInstanceState

    ti = start("running")
    runner.job.executor.change_state(ti.key, TaskInstanceState.FAILED, remove_running=True)
    assert state_after_events(session, runner, ti) == "up_for_retry"


def test_cleared_task_runs_again_after_its_end(session, runner, tasks, start):
    ti = start("restarting")
    end(runner, tasks)
    assert state_after_events(session, runner, ti) is None


def test_scheduler_late_for_its_heartbeat_keeps_its_tasks(session, runner, start):
    ti = start("running")
    runner.job.latest_heartbeat -= timedelta(hours=1)
    session.merge(runner.job)
    session.commit()
    assert runner.adopt_or_reset_orphaned_tasks(session=session) == 0
    assert database.task_instance(session, "work", ti.run_id).state == "running"


def test_scheduler_queues_as_many_tasks_as_there_are_slots(session, runner):
    from airflow.models.dag import DagModel
    from airflow.models.taskinstance import TaskInstance
    from airflow.utils.session import create_session

    session.query(DagModel).update({"is_paused": DagModel.dag_id != "local"})
    session.commit()
    run_ids = {uuid4().hex for _ in range(2 * SLOTS)}
    for run_id in run_ids:
        database.add_run("local", run_id)
    executor = runner.job.executor

    def round_fills_slots():
        with create_session() as own:
            runner._do_scheduling(own)
        executor.heartbeat()
        return len(executor.processes) >= SLOTS

    until(round_fills_slots)
    assert round_fills_slots()
    assert len(executor.processes) == SLOTS
    tasks = session.query(TaskInstance).filter(TaskInstance.run_id.in_(run_ids))
    assert Counter(ti.state for ti in tasks) == {"queued": SLOTS, "scheduled": SLOTS}


def test_executor_of_the_standalone_engine_is_patched(module):
    from airflow.executors.executor_loader import ExecutorLoader

    path = ExecutorLoader.executors["LocalExecutor"]
    assert path == f"{module.__name__}.LocalExecutor"
    assert module.LocalExecutor.__name__ == "LocalExecutor"
