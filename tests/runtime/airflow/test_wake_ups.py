"""The scheduler's pause where no database tells it anything; where one does, the stories look."""

import importlib.util
import time
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.runtime.airflow.supervised import runtime

NOBODY = "postgresql+psycopg2://airflow:nothing@127.0.0.1:1/airflow"  # pragma: allowlist secret


@pytest.fixture
def wake_ups():
    return runtime("airflow.patches.wake_ups")


def slept(pause, seconds):
    began = time.monotonic()
    pause.sleep(seconds)
    return time.monotonic() - began


def test_without_a_database_it_pauses_as_long_as_it_was_asked_to(wake_ups):
    pause = wake_ups.Pause(wake_ups.Listener("scheduler", NOBODY))
    assert min(slept(pause, 0.3) for _ in range(3)) >= 0.3


def test_it_does_not_ask_again_at_once_for_a_database_that_is_away(wake_ups):
    listener = wake_ups.Listener("scheduler", NOBODY)
    assert not listener.wait(0.01)
    tried = listener.tried
    assert not listener.wait(0.01)
    assert listener.tried == tried


class Runner:
    """What Airflow's scheduler does in a round, written down."""

    def __init__(self, done):
        self.done = done
        executor = SimpleNamespace(sync=lambda: done.append("results are read"))
        self.job = SimpleNamespace(executors=[executor])

    def _process_executor_events(self, executor, session):
        assert session == "a session of its own"
        self.done.append("ends are seen")

    def _do_scheduling(self, session):
        self.done.append(f"tasks are queued in {session}")
        return 3


def test_what_became_of_tasks_is_read_before_others_are_queued(wake_ups, monkeypatch):
    monkeypatch.setenv("AIRFLOW__DATABASE__SQL_ALCHEMY_CONN", NOBODY)
    done: list[str] = []
    own = nullcontext("a session of its own")
    scheduler = SimpleNamespace(SchedulerJobRunner=Runner, create_session=lambda: own)
    wake_ups.read_results_first(scheduler)
    assert scheduler.SchedulerJobRunner(done)._do_scheduling("the round's") == 3
    assert done == ["results are read", "ends are seen", "tasks are queued in the round's"]


def test_nothing_else_that_the_scheduler_asks_of_the_clock_is_another(wake_ups, monkeypatch):
    monkeypatch.setenv("AIRFLOW__DATABASE__SQL_ALCHEMY_CONN", NOBODY)
    scheduler = SimpleNamespace(SchedulerJobRunner=Runner)
    wake_ups.wake_scheduler(scheduler)
    assert scheduler.time.monotonic is time.monotonic
    assert scheduler.time.sleep is not time.sleep


def test_the_scheduler_pauses_by_the_module_that_is_replaced():
    found = importlib.util.find_spec("airflow.jobs.scheduler_job_runner")
    source = Path(str(found and found.origin)).read_text()
    assert "\nimport time\n" in source
    assert source.count("time.sleep(") == 1
    # In the order in which they would be done without us.
    queues, hears = (
        source.index(f"self.{name}(") for name in ("_do_scheduling", "_process_executor_events")
    )
    assert queues < source.index("executor.heartbeat()") < hears
    assert (
        "    def _process_executor_events(self, executor: BaseExecutor, session: Session)" in source
    )
