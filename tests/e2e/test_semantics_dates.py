"""Trigger DAGs whose templates need the date of the run."""

import re
from datetime import UTC, datetime

import pytest

from tests.e2e.clone import until
from tests.e2e.faults import trigger

API = "/api/v2/dags"
DAGS = ("dated", "dated_ended", "dated_future")
DAY = "2025-01-31"

pytestmark = pytest.mark.usefixtures("dags")


@pytest.fixture(scope="module")
def dags(stack):
    stack.add_dags("semantics/dates")
    for dag_id in DAGS:
        until(lambda dag_id=dag_id: "dag_id" in stack.airflow(f"{API}/{dag_id}"), 120)


def shown(stack, dag_id, *options):
    """Run a DAG; return the day that its templates show, and their only moment."""
    run_id = trigger(stack, dag_id, "--wait", *options, conf='{"seed": 7}')
    path = f"{API}/{dag_id}/dagRuns/{run_id}/taskInstances/show/xcomEntries/return_value"
    day, *moments, seed = stack.airflow(path)["value"].split(",")
    assert seed == "7"
    [moment] = {datetime.fromisoformat(text) for text in moments}
    return day, moment


@pytest.mark.parametrize("dag_id", DAGS)
def test_run_is_dated_now_whatever_the_dates_of_its_dag(stack, dag_id):
    before = datetime.now(UTC)
    day, moment = shown(stack, dag_id)
    assert before <= moment <= datetime.now(UTC)
    assert day == moment.date().isoformat()


def test_date_reaches_templates_and_is_used_once(stack):
    moment = datetime(2025, 1, 31, tzinfo=UTC)
    assert shown(stack, "dated", "--date", DAY) == (DAY, moment)
    again = stack.run("inv", "trigger", "dated", "--date", f"{DAY}T01:00+01:00")
    assert again.returncode == 1
    cause, advice, page = again.stderr.splitlines()[-3:]
    assert cause.startswith(f"Error: dated already has a run for {moment.isoformat()}: manual__")
    assert cause.endswith(" (success).")
    assert advice == "Clear that run to repeat it, or use another date."
    assert re.match(r"Open: http.*/dags/dated/runs/manual__", page)
    runs = stack.airflow(f"{API}/dated/dagRuns?logical_date_lte={DAY}T00:00:00Z")["dag_runs"]
    assert len(runs) == 1


def test_invalid_date_starts_nothing(stack):
    failed = stack.run("inv", "trigger", "dated", "--date", "nonsense")
    assert (failed.returncode, failed.stdout) == (2, "")
    assert failed.stderr.startswith("Error: --date is not a date: ")
