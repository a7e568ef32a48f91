"""Test the handling of ended tasks, backfills and triggered runs, in a database."""

import importlib
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest

from tests.runtime.airflow import database
from tests.runtime.airflow.supervised import patched_supervisor, runtime
from tests.support.http_stub import HttpStub, unused_port

DAGS = """
from datetime import datetime

from airflow.sdk import dag, task


@dag(schedule="@daily", start_date=datetime(2026, 1, 1), catchup=False)
def scheduled():
    @task(retries=2)
    def plain(): ...

    @task(retries=1, on_retry_callback=print, on_failure_callback=print)
    def retried(): ...

    @task(retries=0, on_retry_callback=print, on_failure_callback=print)
    def failed(): ...

    @task(retries=1, on_failure_callback=print)
    def retried_silently(): ...

    @task(retries=1, on_retry_callback=print)
    def mapped(number): ...

    @task(retries=1, email="you@example.org")
    def mailed(): ...

    @task(retries=0, email="you@example.org", on_failure_callback=print)
    def mailed_and_called(): ...

    @task(retries=0, email="you@example.org", email_on_failure=False)
    def not_mailed(): ...

    @task(retries=0, email="you@example.org")
    def mapped_and_mailed(number): ...

    plain(), retried(), failed(), retried_silently(), mapped.expand(number=[1])
    mailed(), mailed_and_called(), not_mailed(), mapped_and_mailed.expand(number=[1])


@dag(schedule="@daily", start_date=datetime(2026, 1, 1), catchup=False)
def other():
    @task
    def plain(): ...

    plain()


@dag(schedule=None, start_date=datetime(2026, 1, 1), end_date=datetime(2026, 1, 31))
def bounded():
    @task
    def plain(): ...

    @task
    def mapped(number): ...

    plain(), mapped.expand(number=[1, 2])


scheduled(), other(), bounded()
"""
HEALTH = "GET /api/v2/monitor/health"


@pytest.fixture(scope="module")
def scheduler(tmp_path_factory):
    """Airflow's scheduler with all patches, and a database with DAGs."""
    patched_supervisor()
    module = importlib.import_module("airflow.jobs.scheduler_job_runner")
    database.create()
    file = tmp_path_factory.mktemp("dags") / "dags.py"
    file.write_text(DAGS)
    database.add_dags(file)
    return module


@pytest.fixture
def session(scheduler):
    from airflow.utils.session import create_session

    with create_session(scoped=False) as session:
        yield session


@pytest.fixture
def runner(scheduler, session):
    """A scheduler whose executor runs nothing, and stores requests of callbacks."""
    from airflow.callbacks.database_callback_sink import DatabaseCallbackSink
    from airflow.executors.base_executor import BaseExecutor
    from airflow.jobs.job import Job
    from airflow.models.db_callback_request import DbCallbackRequest

    session.query(DbCallbackRequest).delete()
    job = Job(executor=BaseExecutor(), job_type="SchedulerJob")
    job.executor.callback_sink = DatabaseCallbackSink()
    session.add(job)
    session.commit()
    return scheduler.SchedulerJobRunner(job=job)


@pytest.fixture
def running(session, runner):
    """Return a function that adds a run and sets one of its tasks to running."""

    def run(task_id, silent_seconds=0):
        run_id = uuid4().hex
        database.add_run("scheduled", run_id)
        ti = database.task_instance(session, task_id, run_id)
        ti.state, ti.try_number, ti.queued_by_job_id = "running", 1, runner.job.id
        ti.start_date = datetime.now(UTC)
        ti.last_heartbeat_at = datetime.now(UTC) - timedelta(seconds=silent_seconds)
        ti.external_executor_id, ti.next_method = "old", "resume"
        session.commit()
        return ti

    return run


def clear(session, ti):
    from airflow.models.taskinstance import clear_task_instances

    clear_task_instances([ti], session)
    session.commit()
    assert ti.state == "restarting"


def report_end(runner, ti, state):
    """Make the executor report the end of a task, and the scheduler process it."""
    from airflow.utils.state import TaskInstanceState

    runner.job.executor.change_state(ti.key, TaskInstanceState(state))
    process_events(runner)


def process_events(runner):
    from airflow.utils.session import create_session

    with create_session() as session:
        runner._process_executor_events(executor=runner.job.executor, session=session)


def callbacks(session):
    """Return task and type of each requested callback."""
    from airflow.models.db_callback_request import DbCallbackRequest

    requests = [row.get_callback_request() for row in session.query(DbCallbackRequest)]
    return [(request.ti.task_id, request.task_callback_type) for request in requests]


@pytest.mark.parametrize("state", ["success", "failed"])
@pytest.mark.parametrize("task_id", ["plain", "retried", "mapped"])
def test_cleared_task_runs_again_after_its_end(session, runner, running, task_id, state):
    ti = running(task_id)
    clear(session, ti)
    report_end(runner, ti, state)
    ti = database.task_instance(session, task_id, ti.run_id)
    retries = {"plain": 2}.get(task_id, 1)
    assert (ti.state, ti.max_tries) == (None, 1 + retries)
    assert (ti.external_executor_id, ti.next_method) == (None, None)
    assert callbacks(session) == []


def test_cleared_task_of_other_scheduler_or_executed_again_is_left_alone(session, runner, running):
    ti = running("plain")
    clear(session, ti)
    ti.queued_by_job_id = -1
    session.commit()
    report_end(runner, ti, "success")
    ti = database.task_instance(session, "plain", ti.run_id)
    assert ti.state == "restarting"
    ti.queued_by_job_id = runner.job.id
    session.commit()
    runner.job.executor.event_buffer[ti.key] = ("success", None)
    runner.job.executor.running.add(ti.key)
    process_events(runner)
    assert database.task_instance(session, "plain", ti.run_id).state == "restarting"


@pytest.mark.parametrize(
    ("task_id", "state", "requested"),
    [
        ("plain", "up_for_retry", []),
        ("retried", "up_for_retry", [("retried", "up_for_retry")]),
        ("failed", "failed", [("failed", "failed")]),
        ("retried_silently", "up_for_retry", []),
        ("mapped", "up_for_retry", [("mapped", "up_for_retry")]),
        ("mailed", "up_for_retry", [("mailed", "up_for_retry")]),
        ("mailed_and_called", "failed", [("mailed_and_called", "failed")]),
        ("not_mailed", "failed", []),
        ("mapped_and_mailed", "failed", [("mapped_and_mailed", "failed")]),
    ],
)
@pytest.mark.parametrize("reported", [True, False])
def test_task_of_dead_worker_ends_and_its_callback_is_requested_once(
    session, runner, running, caplog, monkeypatch, task_id, state, requested, reported
):
    ti = running(task_id, silent_seconds=3600)
    first_id = ti.id
    if reported:
        report_end(runner, ti, "failed")
    else:
        runner._purge_task_instances_without_heartbeats([ti], session=session)
        session.commit()
        process_events(runner)
    ti = database.task_instance(session, task_id, ti.run_id)
    assert ti.state == state
    assert (ti.id == first_id) is (state == "failed")
    assert callbacks(session) == requested
    assert "Error in callback" not in caplog.text
    assert "Failed to send email" not in caplog.text


@pytest.fixture
def api_server(monkeypatch):
    """An API server that says that it reads its database, and a proxy that leads nowhere."""
    with HttpStub() as server:
        server.answers[HEALTH] = (200, {"metadatabase": {"status": "healthy"}})
        monkeypatch.setenv("AIRFLOW__CORE__EXECUTION_API_SERVER_URL", f"{server.url}/execution/")
        monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{unused_port()}")
        monkeypatch.delenv("no_proxy", raising=False)
        yield server


@pytest.fixture
def clock(monkeypatch):
    """Return a list with the time of the scheduler's patch."""
    times = [1000.0]
    module = runtime("airflow.patches.scheduling")
    monkeypatch.setattr(module.time, "monotonic", lambda: times[0])
    return times


def silent_tasks(runner, session):
    tis = runner._find_task_instances_without_heartbeats(session=session)
    return [ti.task_id for ti in tis]


def test_silent_task_is_dead_after_api_server_answered_for_grace_period(
    session, runner, running, api_server, clock
):
    assert silent_tasks(runner, session) == []
    assert api_server.requests == []
    running("plain", silent_seconds=3600)
    running("retried")
    for seconds, expected in [(0, []), (29, []), (1, ["plain"])]:
        clock[0] += seconds
        assert silent_tasks(runner, session) == expected


@pytest.mark.parametrize(
    "away",
    [
        (503, {}),
        (200, {"metadatabase": {"status": "unhealthy"}}),
        (200, b"no JSON"),
        (200, []),
        lambda handler: handler.connection.close(),
    ],
)
def test_nobody_is_dead_while_api_server_does_not_answer(
    session, runner, running, api_server, clock, away
):
    running("plain", silent_seconds=3600)
    assert silent_tasks(runner, session) == []
    healthy, api_server.answers[HEALTH] = api_server.answers[HEALTH], away
    for _ in range(3):
        clock[0] += 60
        assert silent_tasks(runner, session) == []
    # It answers again, and the tasks may send their next heartbeat.
    api_server.answers[HEALTH] = healthy
    clock[0] += 60
    assert silent_tasks(runner, session) == []
    clock[0] += 30
    assert silent_tasks(runner, session) == ["plain"]


def test_api_server_that_hangs_does_not_answer(api_server, monkeypatch):
    scheduling = runtime("airflow.patches.scheduling")
    monkeypatch.setattr(scheduling, "ANSWER_SECONDS", 0.1)
    api_server.answers[HEALTH] = (200, None)
    assert not scheduling.answers(f"{api_server.url}/execution/")


def test_backfill_that_reprocesses_leaves_other_dags_alone(scheduler, session):
    from airflow.models.backfill import ReprocessBehavior, _create_backfill
    from airflow.models.dagrun import DagRun

    day = datetime(2026, 1, 2, tzinfo=UTC)
    for dag_id in ("scheduled", "other"):
        database.add_run(dag_id, "backfill", "success", day)
    backfill = _create_backfill(
        dag_id="scheduled",
        from_date=day,
        to_date=day,
        max_active_runs=1,
        reverse=False,
        dag_run_conf=None,
        reprocess_behavior=ReprocessBehavior.COMPLETED,
    )
    rows = [
        (run.dag_id, run.run_type, run.backfill_id, run.state)
        for run in session.query(DagRun).filter_by(run_id="backfill")
    ]
    assert sorted(rows) == [
        ("other", "scheduled", None, "success"),
        ("scheduled", "backfill", backfill.id, "queued"),
    ]


@pytest.mark.parametrize(
    "month", [datetime(2025, 12, 1, tzinfo=UTC), datetime(2026, 2, 1, tzinfo=UTC)]
)
def test_run_outside_dates_of_its_dag_has_all_tasks_only_if_triggered(scheduler, session, month):
    from airflow.models.dagrun import DagRun
    from airflow.utils.types import DagRunType

    def tasks(run):
        return sorted((ti.task_id, ti.map_index) for ti in run.get_task_instances(session=session))

    def add(run_type, date):
        database.add_run("bounded", uuid4().hex, logical_date=date, run_type=run_type)
        return session.query(DagRun).order_by(DagRun.id.desc()).first()

    assert tasks(add(DagRunType.SCHEDULED, month)) == []
    run = add(DagRunType.MANUAL, month + timedelta(hours=1))
    expected = [("mapped", 0), ("mapped", 1), ("plain", -1)]
    assert tasks(run) == expected
    # The scheduler does this again when the DAG changes.
    run.dag = database.stored_dag("bounded")
    run.verify_integrity(session=session)
    session.flush()
    assert tasks(run) == expected
