"""The scheduler's pause where no database tells it anything; where one does, the stories look."""

import importlib.util
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from tests.ml.supervised import CONFIG

NOBODY = "postgresql+psycopg2://airflow:nothing@127.0.0.1:1/airflow"  # pragma: allowlist secret


@pytest.fixture
def waking(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    monkeypatch.syspath_prepend(str(CONFIG))
    yield importlib.import_module("waking")
    sys.modules.pop("waking")


def slept(pause: Any, seconds: float) -> float:
    began = time.monotonic()
    pause.sleep(seconds)
    return time.monotonic() - began


def test_without_a_database_it_pauses_as_long_as_it_was_asked_to(waking: Any) -> None:
    pause = waking.Pause(waking.Ear("scheduler", NOBODY))
    assert min(slept(pause, 0.3) for _ in range(3)) >= 0.3


def test_it_does_not_ask_again_at_once_for_a_database_that_is_away(waking: Any) -> None:
    ear = waking.Ear("scheduler", NOBODY)
    assert not ear.wait(0.01)
    tried = ear.tried
    assert not ear.wait(0.01)
    assert ear.tried == tried


def test_nothing_else_that_the_scheduler_asks_of_the_clock_is_another(
    waking: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRFLOW__DATABASE__SQL_ALCHEMY_CONN", NOBODY)
    scheduler = ModuleType("scheduler")
    waking.wake_scheduler(scheduler)
    assert scheduler.time.monotonic is time.monotonic
    assert scheduler.time.sleep is not time.sleep


def test_the_scheduler_pauses_by_the_module_that_is_replaced() -> None:
    found = importlib.util.find_spec("airflow.jobs.scheduler_job_runner")
    source = Path(str(found and found.origin)).read_text()
    assert "\nimport time\n" in source
    assert source.count("time.sleep(") == 1
