"""Monitored periods in MLflow on SQLite, and the version of the code."""

import shutil
from pathlib import Path

from ml import tracking

from tests.ml.conftest import CHURN


def test_code_version_is_given_or_follows_the_source(tmp_path, monkeypatch):
    found = tracking.code_version(CHURN)
    assert found == tracking.code_version(CHURN)
    shutil.copytree(Path(tracking.__file__).parent, tmp_path / "ml")
    monkeypatch.setattr(tracking, "__file__", str(tmp_path / "ml" / "tracking.py"))
    assert tracking.code_version(CHURN) == found
    (tmp_path / "ml" / "own.py").write_text("x = 1\n")
    assert tracking.code_version(CHURN) != found
    monkeypatch.setenv("CODE_VERSION", "v7")
    assert tracking.code_version(CHURN) == "v7"


def log(period, version, auc):
    tags = {"period": period, "champion": version, "drifted": "False"}
    metrics = {"drifted_share": 0.1} | ({} if auc is None else {"auc": auc})
    attempt = tracking.Attempt(f"{period}/{version}", period)
    texts = {"drift.html": "<html>"}
    return tracking.log_period(CHURN, attempt, metrics=metrics, tags=tags, texts=texts)


def test_periods_are_sorted_and_the_last_result_is_last(client):
    assert list(tracking.monitored(CHURN)) == ["period", "auc"]
    log("2013-04", "1", 0.7)
    log("2013-03", "1", 0.6)
    log("2013-05", "1", None)
    log("2013-03", "2", 0.8)
    again = log("2013-04", "1", 0.71)
    found = tracking.monitored(CHURN)
    assert found["period"].tolist() == ["2013-03", "2013-03", "2013-04"]
    assert found["champion"].tolist() == ["1", "2", "1"]
    assert found["auc"].tolist() == [0.6, 0.8, 0.71]
    assert tracking.monitored_periods(CHURN) == {"2013-03", "2013-04", "2013-05"}
    assert [one.path for one in client.list_artifacts(again)] == ["drift.html"]


def test_experiments_are_of_a_kind_and_have_the_limits(client):
    log("2013-04", "1", 0.7)
    tags = client.get_experiment_by_name("churn-monitoring").tags
    assert tags["mlflow.experimentKind"] == "custom_model_development"
    assert (tags["stack.problem"], tags["stack.metric"]) == ("churn", "auc")
    assert tags["stack.drift_limit"] == "0.25"
