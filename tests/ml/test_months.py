"""Months that were looked at, in MLflow on SQLite; and the version of the code."""

import shutil
from pathlib import Path

from ml import tracking


def test_code_version_is_given_or_follows_the_source(tmp_path, monkeypatch):
    found = tracking.code_version()
    assert found == tracking.code_version()
    shutil.copytree(Path(tracking.__file__).parent, tmp_path / "ml")
    monkeypatch.setattr(tracking, "__file__", str(tmp_path / "ml" / "tracking.py"))
    assert tracking.code_version() == found
    (tmp_path / "ml" / "own.py").write_text("x = 1\n")
    assert tracking.code_version() != found
    monkeypatch.setenv("CODE_VERSION", "v7")
    assert tracking.code_version() == "v7"


def look(month, version, auc):
    tags = {"month": month, "champion": version, "drifted": "False"}
    metrics = {"drifted_share": 0.1} | ({} if auc is None else {"auc": auc})
    return tracking.log_month(
        f"{month}/{version}", metrics=metrics, tags=tags, texts={"drift.html": "<html>"}
    )


def test_months_are_listed_in_their_order_the_last_look_last(client):
    assert list(tracking.monitored()) == ["month", "auc"]
    look("2013-04", "1", 0.7)
    look("2013-03", "1", 0.6)
    look("2013-05", "1", None)
    look("2013-03", "2", 0.8)
    again = look("2013-04", "1", 0.71)
    found = tracking.monitored()
    assert found["month"].tolist() == ["2013-03", "2013-03", "2013-04"]
    assert found["champion"].tolist() == ["1", "2", "1"]
    assert found["auc"].tolist() == [0.6, 0.8, 0.71]
    assert [one.path for one in client.list_artifacts(again)] == ["drift.html"]
