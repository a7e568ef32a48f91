"""Test the period of a DAG run, and how tasks fail, skip and send alerts."""

from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest
import runs
from airflow.exceptions import AirflowFailException, AirflowSkipException
from ml import NothingToDo, Refused

from stack_runtime.airflow import alerting
from tests.ml.conftest import CHURN, SAMPLES


@pytest.fixture
def context(monkeypatch):
    """Return the context of a manual run without conf."""
    run = SimpleNamespace(run_type="manual", dag_id="a_dag", run_id="a_run")
    values = {"params": {"period": ""}, "dag_run": run, "triggering_asset_events": {}}
    monkeypatch.setattr(runs, "get_current_context", lambda: values)
    return values


def set_interval(context, run_type):
    context["dag_run"].run_type = run_type
    context["data_interval_start"] = datetime(2013, 4, 1, tzinfo=UTC)


def set_asset_events(context, *extras):
    context["triggering_asset_events"] = {
        "asset": [SimpleNamespace(extra=extra) for extra in extras]
    }


@pytest.mark.parametrize(
    ("run_type", "month"), [("manual", ""), ("scheduled", "2013-04"), ("backfill", "2013-04")]
)
@pytest.mark.parametrize("blank", ["", None])
def test_period_of_scheduled_run_is_its_interval(context, run_type, month, blank):
    context["params"]["period"] = blank
    assert runs.period(CHURN, "period") == ""
    set_interval(context, run_type)
    assert runs.period(CHURN, "period") == month


def test_period_of_asset_run_is_newest_event(context):
    set_asset_events(context, {"period": "2013-05", "version": "3"}, {"period": "2013-02"}, {})
    assert runs.period(CHURN, "period") == "2013-05"
    assert runs.event()["version"] == "3"


def test_period_in_conf_takes_precedence(context):
    set_interval(context, "backfill")
    set_asset_events(context, {"period": "2013-05"})
    context["params"]["period"] = "2013-09"
    assert runs.period(CHURN, "period") == "2013-09"


def test_period_of_interval_depends_on_problem(context):
    set_interval(context, "scheduled")
    assert runs.period(SAMPLES["demand"], "period") == "2013-04-01"
    assert runs.period(SAMPLES["plants"], "period") == ""


class TaskInstance:
    """Provide the methods of Airflow's task instance that the steps use."""

    dag_id, run_id = "a_dag", "a_run"
    task = SimpleNamespace(upstream_task_ids={"arrival", "training", "drift"})

    def __init__(self):
        self.xcoms: dict[str, Any] = {}

    def get_task_states(self, dag_id, run_ids):
        states = {"arrival": "failed", "training_1": "failed", "drift": "upstream_failed"}
        return {run_id: states for run_id in run_ids}

    def xcom_push(self, key, value):
        self.xcoms[key] = value

    def xcom_pull(self, task_ids, key, map_indexes=-1):
        reasons = {("arrival", -1): self.xcoms.get(key), ("training", 1): "nothing to hold out"}
        return reasons.get((task_ids, map_indexes))


def run_failing_step(error):
    """Run a step that raises an error, as Airflow does."""

    @runs.step
    def arrive():
        raise error

    arrive.function()


def test_refused_task_fails_and_alert_has_reason(context, monkeypatch):
    alerts: list[alerting.Alert] = []
    monkeypatch.setattr(alerting, "send", alerts.append)
    monkeypatch.setenv("AIRFLOW_PUBLIC_URL", "http://airflow.here")
    context["ti"] = TaskInstance()
    with pytest.raises(AirflowFailException, match="row 7"):
        run_failing_step(Refused("bad rows: 1: row 7"))
    with pytest.raises(AirflowFailException, match="a_dag: arrival, training_1 failed"):
        runs.alert_of_failure.function()
    (alert,) = alerts
    assert alert.title == "a_dag: arrival, training_1 failed"
    assert list(alert.lines) == ["bad rows: 1: row 7", "nothing to hold out"]
    assert alert.links == {"Airflow": "http://airflow.here/dags/a_dag/runs/a_run"}


def test_task_without_work_is_skipped_with_reason(context, capsys):
    context["ti"] = TaskInstance()
    with pytest.raises(AirflowSkipException, match="no new file"):
        run_failing_step(NothingToDo("There is no new file."))
    assert context["ti"].xcoms == {"report": ["There is no new file."]}
    assert capsys.readouterr().out == "There is no new file.\n"


def test_deliver_without_alert_sends_nothing(monkeypatch):
    monkeypatch.setattr(alerting, "send", None)
    assert alerting.deliver({}) == []
