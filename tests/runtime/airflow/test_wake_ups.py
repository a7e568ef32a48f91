"""Test wake-ups without a database. The end-to-end tests cover wake-ups by a database."""

import importlib.util
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.runtime.airflow.supervised import runtime

NO_DB = "postgresql+psycopg2://airflow:nothing@127.0.0.1:1/airflow"  # pragma: allowlist secret


@pytest.fixture
def wake_ups():
    return runtime("airflow.patches.wake_ups")


def sleep_duration(pause, seconds):
    started = time.monotonic()
    pause.sleep(seconds)
    return time.monotonic() - started


def test_pause_without_database_lasts_full_time(wake_ups):
    pause = wake_ups.Pause(wake_ups.Listener("scheduler", NO_DB))
    assert min(sleep_duration(pause, 0.3) for _ in range(3)) >= 0.3


def test_listener_does_not_reconnect_immediately(wake_ups):
    listener = wake_ups.Listener("scheduler", NO_DB)
    assert not listener.wait(0.01)
    tried = listener.tried
    assert not listener.wait(0.01)
    assert listener.tried == tried


class FakeRunner:
    """Record the steps of a round of Airflow's scheduler."""

    def __init__(self, steps):
        self.steps = steps
        executor = SimpleNamespace(sync=lambda: steps.append("read results"))
        self.job = SimpleNamespace(executors=[executor])

    def _process_executor_events(self, executor, session):
        assert session.commit
        self.steps.append("process events")

    def _do_scheduling(self, session):
        assert session.commit
        self.steps.append("queue tasks")
        return 3


def test_scheduler_reads_results_before_queueing(wake_ups, monkeypatch):
    monkeypatch.setenv("AIRFLOW__DATABASE__SQL_ALCHEMY_CONN", NO_DB)
    steps: list[str] = []
    session = SimpleNamespace(
        commit=lambda: steps.append("commit"), expunge_all=lambda: steps.append("forget")
    )
    scheduler = SimpleNamespace(SchedulerJobRunner=FakeRunner)
    wake_ups.read_results_first(scheduler)
    assert scheduler.SchedulerJobRunner(steps)._do_scheduling(session) == 3
    assert steps == ["read results", "process events", "commit", "forget", "queue tasks"]


def test_wake_scheduler_replaces_only_sleep(wake_ups, monkeypatch):
    monkeypatch.setenv("AIRFLOW__DATABASE__SQL_ALCHEMY_CONN", NO_DB)
    scheduler = SimpleNamespace(SchedulerJobRunner=FakeRunner)
    wake_ups.wake_scheduler(scheduler)
    assert scheduler.time.monotonic is time.monotonic
    assert scheduler.time.sleep is not time.sleep


def test_airflow_scheduler_source_matches_patches():
    spec = importlib.util.find_spec("airflow.jobs.scheduler_job_runner")
    source = Path(str(spec and spec.origin)).read_text()
    assert "\nimport time\n" in source
    assert source.count("time.sleep(") == 1
    # The order without the patch.
    queueing, events = (
        source.index(f"self.{name}(") for name in ("_do_scheduling", "_process_executor_events")
    )
    assert queueing < source.index("executor.heartbeat()") < events
    assert (
        "    def _process_executor_events(self, executor: BaseExecutor, session: Session)" in source
    )
