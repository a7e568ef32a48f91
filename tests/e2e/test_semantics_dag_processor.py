"""Run callbacks of DAGs, and edit DAG files in ways that Airflow 3.0.1 does not notice."""

import contextlib
import os
import time
from datetime import UTC, datetime, timedelta
from urllib.parse import quote

import pytest

from tests.e2e.clone import until
from tests.e2e.faults import journal_lines, trigger

# A changed file is noticed within some seconds, and parsing takes some. Airflow needs 120 s.
NOTICED_SECONDS = 45
# Shorter than in production, to save time. The DAG `frequent` has a callback every 2 s.
INTERVAL, THRESHOLD, CLEANUP = 10, 15, 5
PARSED = '  AIRFLOW__DAG_PROCESSOR__MIN_FILE_PROCESS_INTERVAL: "'
STALE = '  AIRFLOW__DAG_PROCESSOR__STALE_DAG_THRESHOLD: "'
CLEANED = '  AIRFLOW__SCHEDULER__PARSING_CLEANUP_INTERVAL: "'
# Longer than it takes until Airflow counts the DAG as removed.
WATCH_SECONDS = 2 * (THRESHOLD + CLEANUP)
EDITED = """
import os, time
from datetime import datetime
from pathlib import Path
from airflow.sdk import DAG

with Path(os.environ.get("DATA_DIR", "/opt/airflow/data"), "journal").open("a") as file:
    print("edited parse of {version}", file=file, flush=True)
time.sleep({seconds})
dag = DAG("edited", description="{version}", schedule=None, start_date=datetime(2025, 1, 1))
"""


@pytest.fixture(scope="module", autouse=True)
def dags(stack):
    stack.add_dags("semantics/dag_processor")
    until(lambda: "dag_id" in stack.airflow("/api/v2/dags/notified"), 120)
    yield
    (stack.folder / "dags/dag_processor.py").unlink()


@pytest.fixture
def edited(stack):
    """Return the path of a DAG file that tests write."""
    file = stack.folder / "dags/edited.py"
    yield file
    file.unlink()


def save(file, version, seconds=0):
    file.write_text(EDITED.format(version=version, seconds=seconds))


def await_version(stack, version, seconds=NOTICED_SECONDS):
    path = "/api/v2/dags/edited"
    until(lambda: stack.airflow(path).get("description") == version, seconds)


def test_callback_of_failed_dag_knows_run_and_task(stack, figures):
    run_id = trigger(stack, "notified")
    [run] = stack.await_runs("notified", 120)
    assert run["state"] == "failed"
    ended = time.monotonic()
    until(lambda: journal_lines(stack, run_id), 60)
    figures["callback after"] = time.monotonic() - ended
    [line] = journal_lines(stack, run_id)
    *known, link = line.split()
    assert known == ["task_failure", "notified", "failed", "broken", "mould"]
    page = f"/dags/notified/runs/{quote(run_id)}/tasks/broken?try_number=1"
    assert link.endswith(f":{stack.exported['AIRFLOW_PORT']}{page}")


def test_file_saved_with_older_time_is_noticed(stack, figures, edited):
    save(edited, "first")
    await_version(stack, "first", 60)
    save(edited, "other")
    os.utime(edited, (1_600_000_000, 1_600_000_000))
    started = time.monotonic()
    await_version(stack, "other")
    figures["noticed after"] = time.monotonic() - started


def test_file_saved_during_its_parse_is_noticed(stack, figures, edited):
    save(edited, "early", seconds=8)
    until(lambda: "parse of early" in journal_lines(stack, "edited"), 60)
    save(edited, "later", seconds=8)
    started = time.monotonic()
    await_version(stack, "later")
    figures["noticed after"] = time.monotonic() - started


def test_dag_with_frequent_callbacks_does_not_become_stale(stack):
    path = "/api/v2/dags/frequent"
    address = stack.url("AIRFLOW_PORT") + path
    with short_intervals(stack):
        until(lambda: "dag_id" in stack.airflow(path), 60)
        session = stack.session()
        session.patch(address, json={"is_paused": False}).raise_for_status()
        try:
            until(lambda: stack.airflow(f"{path}/dagRuns")["total_entries"] >= 3, 60)
            deadline = time.monotonic() + WATCH_SECONDS
            while time.monotonic() < deadline:
                assert not stack.airflow(path)["is_stale"]
                time.sleep(2)
            # It was parsed between the callbacks.
            parsed = datetime.fromisoformat(stack.airflow(path)["last_parsed_time"])
            assert datetime.now(UTC) - parsed < timedelta(seconds=2 * INTERVAL)
        finally:
            session.patch(address, json={"is_paused": True})


@contextlib.contextmanager
def short_intervals(stack):
    """Restart the stack with short intervals between parses and between searches of old DAGs."""
    file = stack.folder / "orchestration/docker-compose.yaml"
    text = file.read_text()
    changed = text.replace(f"{PARSED}120", f"{PARSED}{INTERVAL}").replace(
        f"{STALE}180", f'{CLEANED}{CLEANUP}"\n{STALE}{THRESHOLD}'
    )
    assert changed.count(f"{PARSED}{INTERVAL}") == changed.count(f"{STALE}{THRESHOLD}") == 1
    file.write_text(changed)
    try:
        stack.run_ok("inv", "up", "--no-proof")
        yield
    finally:
        file.write_text(text)
        stack.run_ok("inv", "up", "--no-proof")
