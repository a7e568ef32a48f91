"""Test monitoring from the arrival of a month to the alert, on a slice of the real flights."""

import numpy as np
import pytest
from ml import Refused, data, monitoring, registry, scores, tracking
from ml.drift import newer
from problems.flights import PROBLEM as FLIGHTS

DRIFT = {
    "period": "2013-07",
    "version": "1",
    "champion": "version 1 (linear, data to 2013-03)",
    "until": "2013-03",
    "news": True,
    "trained_on": False,
    "share": 0.5,
    "past_threshold": True,
    "columns": {"humid": 0.4, "temp": 5.0},
    "seasonal": {},
}
PERFORMANCE = {
    "auc": 0.68,
    "metric": 0.68,
    "log_loss": 0.5,
    "calibration_error": 0.1,
    "holdout": 0.72,
}
PERFORMANCE |= {"labelled_share": 1.0, "stored": False, "trained_on": False, "decayed": False}
NO_LABELS = "0% of the flights have a label"
NO_PERFORMANCE = {"labelled_share": 0.0, "metric": None, "reason": NO_LABELS, "decayed": False}


def use_own_file(flights, folder, patch):
    flights.to_parquet(folder / "own.parquet")
    patch.setenv("DATASET_URI", str(folder / "own.parquet"))


def test_arrive_blank_period_is_newest_month(after_first, tmp_path):
    batch = monitoring.arrive(FLIGHTS, tmp_path, "")
    assert batch["period"] == "2013-12"
    assert set(data.load(batch["rows"])["month"]) == {12}


@pytest.fixture(scope="module")
def july(first, use, source, tmp_path_factory):
    """Return drift and performance of July for the March champion, and the logged results."""
    folder = tmp_path_factory.mktemp("july")
    with pytest.MonkeyPatch.context() as patch:
        client = use(first.database, folder, patch)
        patch.setenv("DATASET_URI", str(source))
        batch = monitoring.arrive(FLIGHTS, folder, "2013-07")
        drift = monitoring.measure_drift(FLIGHTS, batch)
        performance = monitoring.measure_performance(FLIGHTS, batch, drift)
        run = client.get_run(drift["run_id"])
        record = {
            "run": run,
            "files": {file.path for file in client.list_artifacts(drift["run_id"])},
            "experiment": client.get_experiment(run.info.experiment_id).name,
            "lines": monitoring.summary(FLIGHTS, drift, performance),
            "alert": monitoring.alert(FLIGHTS, drift, performance),
            "retrained": tracking.is_trained_for(FLIGHTS, "2013-07"),
        }
    return drift, performance, record


def test_july_has_drifted_from_winter(july):
    drift, _, record = july
    assert drift["past_threshold"]
    assert drift["columns"]["temp"] == max(drift["columns"].values())
    assert (drift["version"], drift["until"]) == ("1", "2013-03")
    assert drift["news"]
    assert not drift["trained_on"]
    assert newer(drift["period"], drift["until"], [])
    assert not record["retrained"]


def test_july_is_logged_with_reports(july):
    drift, performance, record = july
    run = record["run"]
    assert record["experiment"] == f"{FLIGHTS.name}-monitoring"
    assert {"drift.html", "drift.json", "history.png"} == record["files"]
    assert (run.data.tags["period"], run.data.tags["champion"]) == ("2013-07", "1")
    assert (run.data.tags["drifted"], run.data.tags["decayed"]) == (
        "True",
        str(performance["decayed"]),
    )
    assert run.data.metrics["drifted_share"] == drift["share"]
    assert run.data.metrics["psi.temp"] == drift["columns"]["temp"]
    assert run.data.metrics["auc"] == performance["auc"]


def test_july_summary_compares_with_hold_out(july):
    drift, performance, record = july
    assert 0.5 < performance["auc"] < 0.9
    assert 0.9 < performance["labelled_share"] < 1
    assert performance["decayed"] == scores.has_decayed(
        FLIGHTS, performance["auc"], performance["holdout"]
    )
    assert record["lines"][0] == f"month 2013-07, champion {drift['champion']}"
    assert "temp " in record["lines"][1]
    assert f"AUC {performance['auc']:.4f}, on its hold-out" in record["lines"][2]


def test_july_alert_links_to_run(july):
    drift, _, record = july
    assert record["alert"]["title"].startswith(f"{FLIGHTS.name} 2013-07: the flights have drifted")
    assert record["alert"]["lines"] == record["lines"]
    (link,) = record["alert"]["links"].values()
    assert link.startswith("http://mlflow.here/#/experiments/")
    assert link.endswith(drift["run_id"])


def test_month_without_labels_has_drift_but_no_score(after_first, flights, tmp_path, monkeypatch):
    use_own_file(flights[flights["month"] == 2].assign(arr_delay=np.nan), tmp_path, monkeypatch)
    batch = monitoring.arrive(FLIGHTS, tmp_path, "2013-02")
    drift = monitoring.measure_drift(FLIGHTS, batch)
    performance = monitoring.measure_performance(FLIGHTS, batch, drift)
    assert performance == NO_PERFORMANCE
    assert monitoring.summary(FLIGHTS, drift, performance)[-1].endswith(f"because {NO_LABELS}")
    run = after_first.get_run(drift["run_id"])
    assert "auc" not in run.data.metrics
    assert run.data.metrics["labelled_share"] == 0
    assert tracking.monitored(FLIGHTS).empty
    assert drift["trained_on"]
    assert not drift["news"]
    assert not newer(drift["period"], drift["until"], [])
    assert monitoring.alert(FLIGHTS, drift, performance) == {}


def test_drift_without_champion_is_refused(client, flights, tmp_path):
    batch = {"period": "2013-07", "rows": data.save(flights.head(9), tmp_path / "f.parquet")}
    command = "inv trigger training_pipeline --wait$"
    with pytest.raises(Refused, match=f"no champion. Train one first: {command}"):
        monitoring.measure_drift(FLIGHTS, batch)


def test_corrupted_month_is_refused_and_champion_stays(
    after_first, all_flights, tmp_path, monkeypatch
):
    before = registry.load(FLIGHTS.name, "champion").version
    bad = all_flights.iloc[::40].copy()
    row = bad.index[bad["month"] == 4][11]
    bad.loc[row, "temp"] = 999.0
    use_own_file(bad, tmp_path, monkeypatch)
    reason = rf"^bad rows: 1: row {bad.index.get_loc(row)}: temp=999"
    with pytest.raises(Refused, match=reason):
        monitoring.arrive(FLIGHTS, tmp_path / "run", "2013-04")
    assert not (tmp_path / "run").exists()
    assert monitoring.arrive(FLIGHTS, tmp_path, "2013-05")["period"] == "2013-05"
    assert registry.load(FLIGHTS.name, "champion").version == before


def test_arrive_future_month_is_refused(after_first, tmp_path):
    with pytest.raises(Refused, match="no flights of 2014-02"):
        monitoring.arrive(FLIGHTS, tmp_path, "2014-02")


@pytest.mark.parametrize(
    ("drift", "performance", "reasons"),
    [
        ({}, {}, "the flights have drifted"),
        ({}, {"decayed": True}, "the flights have drifted and the champion has decayed"),
        ({"news": False}, {"decayed": True}, "the champion has decayed"),
        ({"past_threshold": False}, {"decayed": True}, "the champion has decayed"),
        ({"news": False}, {}, None),
        ({"past_threshold": False}, {}, None),
    ],
)
def test_alert_title_names_reasons(july, after_first, drift, performance, reasons):
    runs = after_first.search_runs([after_first.get_experiment_by_name(FLIGHTS.name).experiment_id])
    result = DRIFT | drift | {"run_id": runs[0].info.run_id}
    alert = monitoring.alert(FLIGHTS, result, PERFORMANCE | performance)
    assert alert.get("title") == (reasons and f"{FLIGHTS.name} 2013-07: {reasons}")


def test_summary_names_largest_drift_first():
    lines = monitoring.summary(FLIGHTS, DRIFT, PERFORMANCE | {"trained_on": True})
    assert lines[1].endswith("furthest by psi: temp 5.00, humid 0.40")
    assert "(it was trained on this month)" in lines[2]
    assert monitoring.summary(FLIGHTS, DRIFT | {"columns": {}}, NO_PERFORMANCE)[1].endswith(
        "by psi: none"
    )
