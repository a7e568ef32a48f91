"""What the graphs take from Airflow: the month of a run, and the alert of a failed task."""

from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest
import runs
from airflow.exceptions import AirflowFailException
from ml import Refused, alerting


@pytest.fixture
def context(monkeypatch):
    """A run started by hand, without conf."""
    run = SimpleNamespace(run_type="manual", dag_id="a_dag", run_id="a_run")
    given = {"params": {"month": ""}, "dag_run": run, "triggering_asset_events": {}}
    monkeypatch.setattr(runs, "get_current_context", lambda: given)
    return given


def scheduled(context, run_type):
    context["dag_run"].run_type = run_type
    context["data_interval_start"] = datetime(2013, 4, 1, tzinfo=UTC)


def caused_by(context, *extras):
    context["triggering_asset_events"] = {"asset": [SimpleNamespace(extra=one) for one in extras]}


@pytest.mark.parametrize(
    ("run_type", "month"), [("manual", ""), ("scheduled", "2013-04"), ("backfill", "2013-04")]
)
@pytest.mark.parametrize("blank", ["", None])
def test_a_run_by_time_is_for_its_interval_and_one_by_hand_for_no_month(
    context, run_type, month, blank
):
    context["params"]["month"] = blank
    assert runs.month("month") == ""
    scheduled(context, run_type)
    assert runs.month("month") == month


def test_an_asset_run_is_for_the_newest_month_of_its_events(context):
    caused_by(context, {"month": "2013-05", "version": "3"}, {"month": "2013-02"}, {})
    assert runs.month("month") == "2013-05"
    assert runs.event()["version"] == "3"


def test_conf_goes_before_everything(context):
    scheduled(context, "backfill")
    caused_by(context, {"month": "2013-05"})
    context["params"]["month"] = "2013-09"
    assert runs.month("month") == "2013-09"


class TaskInstance:
    """As much of Airflow's as the tasks use."""

    dag_id, run_id = "a_dag", "a_run"
    task = SimpleNamespace(upstream_task_ids={"arrival", "training", "drift"})

    def __init__(self):
        self.told: dict[str, Any] = {}

    def get_task_states(self, dag_id, run_ids):
        states = {"arrival": "failed", "training_1": "failed", "drift": "upstream_failed"}
        return {run_id: states for run_id in run_ids}

    def xcom_push(self, key, value):
        self.told[key] = value

    def xcom_pull(self, task_ids, key, map_indexes=-1):
        pushed = {("arrival", -1): self.told.get(key), ("training", 1): "nothing to hold out"}
        return pushed.get((task_ids, map_indexes))


def test_what_refused_is_told_where_and_why_and_the_run_fails(context, monkeypatch):
    sent: list[alerting.Alert] = []
    monkeypatch.setattr(alerting, "send", sent.append)
    monkeypatch.setenv("AIRFLOW_PUBLIC_URL", "http://airflow.here")
    context["ti"] = TaskInstance()
    with pytest.raises(AirflowFailException, match="row 7"), runs.no_retry_when_refused():
        raise Refused("bad rows: 1: row 7")
    with pytest.raises(AirflowFailException, match="a_dag: arrival, training_1 failed"):
        runs.alert_of_failure.function()
    (alert,) = sent
    assert alert.title == "a_dag: arrival, training_1 failed"
    assert list(alert.lines) == ["bad rows: 1: row 7", "nothing to hold out"]
    assert alert.links == {"Airflow": "http://airflow.here/dags/a_dag/runs/a_run"}
