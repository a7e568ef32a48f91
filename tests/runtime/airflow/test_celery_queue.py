"""Test Celery's queue with its real client, a stub of Redis and a database of Airflow."""

import importlib
import json
import time
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import httpx
import pytest

from tests.runtime.airflow import database
from tests.runtime.airflow.broker import Broker
from tests.runtime.airflow.supervised import patched_supervisor, runtime
from tests.support.http_stub import unused_port

DAGS = """
from airflow.sdk import dag, task


@dag(schedule=None)
def waiting():
    @task
    def first(): ...

    @task(queue="other")
    def second(): ...

    first(), second()


waiting()
"""
EXECUTOR = "airflow.providers.celery.executors.celery_executor"
HOUR_AGO = datetime.now(UTC) - timedelta(hours=1)


@pytest.fixture(scope="module")
def utils(tmp_path_factory):
    """The module with Celery's application, with all patches, and a database with a DAG."""
    patched_supervisor()
    importlib.import_module(EXECUTOR)
    database.create()
    file = tmp_path_factory.mktemp("dags") / "dags.py"
    file.write_text(DAGS)
    database.add_dags(file)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CELERY_RESULT_BACKEND", f"db+sqlite:///{file.with_name('results')}")
        patch.setenv("AIRFLOW__CORE__EXECUTION_API_SERVER_URL", "http://api/execution/")
        yield importlib.import_module(f"{EXECUTOR}_utils")


@pytest.fixture
def use_broker(utils, monkeypatch):
    """Return a function that sets the address of Redis."""

    def use(url):
        monkeypatch.setenv("CELERY_BROKER_URL", url)
        # Connections to another address.
        utils.app._after_fork()

    monkeypatch.setattr(utils, "OPERATION_TIMEOUT", 30)
    return use


@pytest.fixture
def broker(use_broker):
    with Broker() as server:
        use_broker(server.url)
        yield server


@pytest.fixture
def hanging(utils, broker):
    """Return a context manager in which Redis hangs, and must not block for long."""

    @contextmanager
    def hang():
        broker.hangs, started = True, time.monotonic()
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(utils, "OPERATION_TIMEOUT", 0.5)
            yield
        broker.hangs = False
        # One attempt, not one for each task.
        assert time.monotonic() - started < 3

    return hang


@pytest.fixture
def executor(broker):
    executor = importlib.import_module(EXECUTOR).CeleryExecutor()
    executor.start()
    executor.slots = 2
    return executor


@pytest.fixture
def messages(utils):
    return runtime("airflow.patches.celery_queue").messages


def workload(task_id, queue="default", weight=1, **fields):
    """Return what the scheduler hands to the executor for a task."""
    from airflow.executors import workloads
    from uuid6 import uuid7

    values = {
        "id": uuid7(), "task_id": task_id, "dag_id": "d", "run_id": "r", "try_number": 1,
        "pool_slots": 1, "queue": queue, "priority_weight": weight,
    }  # fmt: skip
    return workloads.ExecuteTask(
        ti=workloads.TaskInstance(**values | fields),
        token="",
        dag_rel_path="d.py",
        bundle_info=workloads.BundleInfo(name="b", version=None),
        log_path="d.log",
    )


def send(executor, *workloads):
    """Run a round of the executor, and return the IDs of the tasks that it has sent until now."""
    for one in workloads:
        executor.queue_workload(one, None)
    executor.trigger_tasks(executor.parallelism - len(executor.running))
    return [key.task_id for key in executor.tasks]


def celery_ids(broker, queue="default"):
    """Return Celery's IDs of the messages in a queue, the oldest first."""
    return [json.loads(text)["headers"]["id"] for text in reversed(broker.queues[queue])]


# What is in Redis


def test_messages_are_found_by_task_instance(broker, executor, messages):
    first, second, third = (workload(str(n), queue=f"q{n}") for n in (1, 2, 3))
    send(executor, first, second, third)
    ids = {str(one.ti.id): executor.tasks[one.ti.key].id for one in (first, second, third)}
    assert messages({"q1", "q2", "q3"}) == ids
    broker.receive("q1", when=1000)
    assert messages({"q1", "q2", "q3"}) == ids
    assert messages({"q3"}) == {str(one.ti.id): ids[str(one.ti.id)] for one in (first, third)}
    broker.receive("q2", when=2000)
    assert messages({"q1", "q2"}, 1500).keys() == {str(second.ti.id)}


def test_messages_without_redis_are_unknown(use_broker, broker, hanging, messages):
    with hanging():
        assert messages({"default"}) is None
    use_broker(f"redis://:x@127.0.0.1:{unused_port()}/0")
    assert messages({"default"}) is None
    use_broker(broker.url.replace("s3cret", "other"))
    assert messages({"default"}) is None


# Tasks that wait for long, and a scheduler that starts again


@pytest.fixture
def session(utils):
    from airflow.utils.session import create_session

    with create_session(scoped=False) as session:
        yield session


@pytest.fixture
def runner(session, executor):
    from airflow.jobs.job import Job
    from airflow.jobs.scheduler_job_runner import SchedulerJobRunner

    job = Job(executor=executor, job_type="SchedulerJob", state="running")
    job.latest_heartbeat = datetime.now(UTC)
    session.add(job)
    session.commit()
    return SchedulerJobRunner(job=job)


@pytest.fixture
def queued(session, runner, request):
    """Return the keys of two tasks that were queued an hour ago, and their workloads."""
    from airflow.models.dagrun import DagRun
    from airflow.models.taskinstance import TaskInstance

    run_id = request.node.name
    for model in (TaskInstance, DagRun):
        session.query(model).delete()
    session.commit()
    database.add_run("waiting", run_id)
    workloads = []
    for task_id in ("first", "second"):
        ti = database.task_instance(session, task_id, run_id)
        ti.state, ti.queued_dttm, ti.try_number = "queued", HOUR_AGO, 1
        ti.queued_by_job_id, ti.external_executor_id = runner.job.id, f"stale {task_id}"
        fields = {"id": ti.id, "dag_id": "waiting", "run_id": run_id}
        workloads.append(workload(task_id, queue=ti.queue, **fields))
        session.commit()
    return [one.ti.key for one in workloads], workloads


def rows(session, keys, *names):
    """Return columns of the tasks as they are in the database now."""
    tis = [database.task_instance(session, key.task_id, key.run_id) for key in keys]
    return [tuple(getattr(ti, name) for name in names) for ti in tis]


def stuck_events(session):
    from airflow.models.log import Log

    return session.query(Log).where(Log.event.like("stuck%")).count()


def check_for_stuck_tasks(runner, session):
    before = stuck_events(session)
    runner._handle_tasks_stuck_in_queued()
    return stuck_events(session) - before


def test_task_that_waits_in_redis_is_not_queued_again(session, runner, broker, queued):
    keys, workloads = queued
    send(runner.job.executor, *workloads)
    for _ in range(3):
        assert check_for_stuck_tasks(runner, session) == 0
    assert rows(session, keys, "state") == [("queued",)] * 2
    assert [len(broker.queues[name]) for name in ("default", "other")] == [1, 1]


def test_lost_task_is_queued_again(session, runner, broker, queued):
    keys, workloads = queued
    send(runner.job.executor, *workloads)
    broker.queues["other"].clear()
    # A worker received this one, was killed and did not start it.
    broker.receive("default", when=HOUR_AGO.timestamp())
    broker.commands.clear()
    assert check_for_stuck_tasks(runner, session) == 2
    assert rows(session, keys, "state") == [("scheduled",)] * 2
    assert (runner.job.executor.running, runner.job.executor.tasks) == (set(), {})
    # No worker is asked to forget a message.
    assert "PUBLISH" not in broker.commands


def test_task_that_a_worker_starts_now_is_not_queued_again(session, runner, broker, queued):
    keys, workloads = queued
    send(runner.job.executor, *workloads)
    broker.receive("default", when=time.time())
    assert check_for_stuck_tasks(runner, session) == 0
    assert rows(session, keys, "state") == [("queued",)] * 2


def test_task_is_not_queued_again_while_redis_hangs_or_it_was_not_sent(
    session, runner, hanging, queued
):
    keys, (first, second) = queued
    send(runner.job.executor, first)
    runner.job.executor.queue_workload(second, None)
    assert check_for_stuck_tasks(runner, session) == 0
    del runner.job.executor.queued_tasks[keys[1]]
    with hanging():
        assert check_for_stuck_tasks(runner, session) == 0
    assert rows(session, keys, "state") == [("queued",)] * 2


def adopt(session, runner):
    """Let the scheduler die, and another one take its tasks."""
    from airflow.jobs.job import Job

    session.query(Job).update({"state": "failed"})
    session.commit()
    job = Job(executor=type(runner.job.executor)(), job_type="SchedulerJob", state="running")
    job.latest_heartbeat = datetime.now(UTC)
    session.add(job)
    session.commit()
    new = type(runner)(job=job)
    assert new.adopt_or_reset_orphaned_tasks() == 0
    session.commit()
    return job


def test_sent_task_is_adopted_with_its_message(session, runner, broker, queued):
    keys, workloads = queued
    send(runner.job.executor, *workloads)
    database.task_instance(session, "second", keys[1].run_id).state = "running"
    session.commit()
    broker.receive("other", when=1000)
    ids = [runner.job.executor.tasks[key].id for key in keys]
    job = adopt(session, runner)
    expected = [(state, id_, job.id) for state, id_ in zip(("queued", "running"), ids, strict=True)]
    columns = ("state", "external_executor_id", "queued_by_job_id")
    assert rows(session, keys, *columns) == expected
    assert {key: result.id for key, result in job.executor.tasks.items()} == dict(
        zip(keys, ids, strict=True)
    )
    assert job.executor.event_buffer == {}
    # The second is in another queue.
    assert job.executor.slots_occupied == 1


def test_task_that_was_not_sent_is_scheduled_in_the_same_try(session, runner, broker, queued):
    keys, _ = queued
    job = adopt(session, runner)
    columns = ("state", "try_number", "external_executor_id")
    assert rows(session, keys, *columns) == [("scheduled", 1, None)] * 2
    assert (job.executor.tasks, job.executor.event_buffer) == ({}, {})


def test_adoption_without_redis_uses_recorded_ids(session, runner, hanging, queued):
    keys, _ = queued
    with hanging():
        job = adopt(session, runner)
    recorded = [("queued", "stale first"), ("queued", "stale second")]
    assert rows(session, keys, "state", "external_executor_id") == recorded
    assert job.executor.tasks.keys() == set(keys)


# Sending


def test_tasks_wait_while_redis_hangs_and_keep_their_ids(broker, hanging, executor):
    executor.slots = 8
    with hanging():
        assert send(executor, *(workload(str(n), weight=9 - n) for n in range(8))) == []
    assert (len(executor.queued_tasks), executor.event_buffer, executor.running) == (8, {}, set())
    [first_id] = executor.celery_ids.values()
    assert send(executor) == [str(n) for n in range(8)]
    assert celery_ids(broker)[0] == first_id
    assert len({*celery_ids(broker)}) == len(executor.running) == 8
    assert {state for state, _ in executor.event_buffer.values()} == {"queued"}
    # The next send of the same task, after a deferral, is another message.
    assert executor.celery_ids == {}


def test_tasks_wait_while_redis_refuses(use_broker, broker, executor):
    use_broker(f"redis://:x@127.0.0.1:{unused_port()}/0")
    assert send(executor, workload("a"), workload("b")) == []
    broker.forbidden = "LPUSH"
    use_broker(broker.url)
    assert send(executor) == []
    assert (len(executor.queued_tasks), executor.event_buffer) == (2, {})
    broker.forbidden = None
    assert send(executor) == ["a", "b"]


def test_task_that_cannot_be_sent_fails_and_does_not_block_others(executor, utils, monkeypatch):
    from kombu.exceptions import EncodeError

    def encode(key, *rest):
        if key.task_id == "bad":
            return key, None, utils.ExceptionWithTraceback(EncodeError("no JSON"), "")
        return original((key, *rest))

    original = utils.send_task_to_executor
    monkeypatch.setattr(utils, "send_task_to_executor", lambda one: encode(*one))
    bad, good = workload("bad", weight=9), workload("good")
    assert send(executor, bad, good) == ["good"]
    assert executor.event_buffer[bad.ti.key] == ("failed", None)


def test_only_tasks_that_can_start_soon_are_sent_by_priority(executor):
    low = [workload(f"low{n}") for n in range(6)]
    assert send(executor, *low) == ["low0", "low1", "low2", "low3"]
    urgent = workload("urgent", weight=1000)
    assert send(executor, urgent) == ["low0", "low1", "low2", "low3"]
    assert (executor.slots_occupied, executor.slots_available) == (7, executor.parallelism - 7)
    executor.success(low[0].ti.key)
    assert send(executor) == ["low1", "low2", "low3", "urgent"]
    executor.success(urgent.ti.key)
    assert send(executor) == ["low1", "low2", "low3", "low4"]


def test_spare_tasks_follow_the_rate_of_ends(executor, monkeypatch):
    clock = SimpleNamespace(now=1000.0)
    celery_queue = runtime("airflow.patches.celery_queue")
    fake = SimpleNamespace(monotonic=lambda: clock.now, time=time.time)
    monkeypatch.setattr(celery_queue, "time", fake)
    send(executor, *(workload(str(n)) for n in range(30)))
    for _ in range(2):
        assert len(executor.running) == 4
        for key in list(executor.running):
            executor.success(key)
        # As many spare tasks as ended, on top of the two slots.
        assert len(send(executor)) == 2 + 4
        for key in list(executor.running)[:2]:
            executor.success(key)
        clock.now += celery_queue.SPARE_SECONDS + 0.1
        assert len(send(executor)) == 4


def test_tasks_of_other_queues_take_no_slots(executor):
    elsewhere = [workload(f"gpu{n}", queue="gpu") for n in range(9)]
    assert len(send(executor, *elsewhere)) == 9
    assert (executor.slots_occupied, executor.slots_available) == (0, executor.parallelism)
    own = send(executor, *(workload(str(n)) for n in range(5)))[9:]
    assert own == ["0", "1", "2", "3"]
    assert executor.slots_occupied == 5
    executor.success(elsewhere[0].ti.key)
    assert executor.slots_occupied == 5
    assert len(executor.elsewhere) == 8


# Messages that the API server refuses


def refusal(status, detail, path="run"):
    from airflow.sdk.api.client import ServerResponseError

    request = httpx.Request("PATCH", f"http://api/execution/task-instances/1/{path}")
    response = httpx.Response(status, json={"detail": detail}, request=request)
    return ServerResponseError.from_response(response)


def invalid(state):
    return {"reason": "invalid_state", "message": "no", "previous_state": state}


@pytest.fixture
def execute(utils, monkeypatch):
    """Return a function that executes a message whose start fails, and returns Celery's state."""

    def execute(error):
        def supervise(**_):
            raise error

        monkeypatch.setattr("airflow.sdk.execution_time.supervisor.supervise", supervise)
        return utils.execute_workload.apply(args=(workload("a").model_dump_json(),)).state

    return execute


@pytest.mark.parametrize(
    ("status", "detail"),
    [(409, invalid("running")), (403, "Invalid auth token: Signature has expired"), (401, "no")],
)
def test_refused_message_is_dropped(execute, status, detail):
    assert execute(refusal(status, detail)) == "IGNORED"


@pytest.mark.parametrize(
    ("status", "detail", "path"),
    [
        (409, invalid("success"), "run"),
        (404, {"reason": "not_found"}, "run"),
        (409, "no", "run"),
        (403, "expired", "state"),
        (409, invalid("running"), "heartbeat"),
    ],
)
def test_other_answer_of_api_server_is_a_failure(execute, status, detail, path):
    assert execute(refusal(status, detail, path)) == "FAILURE"


def test_other_error_is_a_failure(execute):
    assert execute(ZeroDivisionError()) == "FAILURE"
