"""Test the monitored periods in MLflow on SQLite, and the version of the code."""

import shutil
from pathlib import Path

from ml import tracking

from tests.ml.conftest import CHURN


def test_code_version_follows_setting_or_source(tmp_path, monkeypatch):
    tags = tracking.code_tags(CHURN)
    assert tags == tracking.code_tags(CHURN)
    shutil.copytree(Path(tracking.__file__).parent, tmp_path / "ml")
    monkeypatch.setattr(tracking, "__file__", str(tmp_path / "ml" / "tracking.py"))
    assert tracking.code_tags(CHURN) == tags
    (tmp_path / "ml" / "own.py").write_text("x = 1\n")
    changed = tracking.code_tags(CHURN)
    assert not changed.items() & tags.items()
    monkeypatch.setenv("CODE_VERSION", "v7")
    assert tracking.code_tags(CHURN) == changed | {"code_version": "v7"}


def log(period, version, auc):
    tags = {"period": period, "champion": version, "drifted": "False"}
    metrics = {"drifted_share": 0.1} | ({} if auc is None else {"auc": auc})
    return tracking.log_period(CHURN, f"{period}, {version}", metrics, tags, drift_html="<html>")


def test_monitored_periods_are_sorted_with_latest_result(client):
    assert list(tracking.monitored(CHURN)) == ["period", "auc"]
    log("2013-04", "1", 0.7)
    log("2013-03", "1", 0.6)
    log("2013-05", "1", None)
    log("2013-03", "2", 0.8)
    last_run = log("2013-04", "1", 0.71)
    periods = tracking.monitored(CHURN)
    assert periods["period"].tolist() == ["2013-03", "2013-03", "2013-04"]
    assert periods["champion"].tolist() == ["1", "2", "1"]
    assert periods["auc"].tolist() == [0.6, 0.8, 0.71]
    assert tracking.monitored_periods(CHURN) == {"2013-03", "2013-04", "2013-05"}
    assert [file.path for file in client.list_artifacts(last_run)] == ["drift.html"]


def test_monitoring_experiment_has_kind_and_limits(client):
    log("2013-04", "1", 0.7)
    tags = client.get_experiment_by_name("churn-monitoring").tags
    assert tags["mlflow.experimentKind"] == "custom_model_development"
    assert (tags["stack.problem"], tags["stack.metric"]) == ("churn", "auc")
    assert tags["stack.drift_limit"] == "0.25"
