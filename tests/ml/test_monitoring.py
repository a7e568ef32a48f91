"""A month from its arrival to the alert, on a slice of the real flights and a real champion."""

import numpy as np
import pytest
from ml import MODEL_NAME, Refused, data, drift, monitoring, registry, tracking
from ml.drift import newer

DRIFTED = {
    "month": "2013-07",
    "version": "1",
    "champion": "version 1 (linear, data to 2013-03)",
    "until": "2013-03",
    "news": True,
    "trained_on": False,
    "share": 0.5,
    "past_threshold": True,
    "columns": {"humid": 0.4, "temp": 5.0},
}
SCORED = {"auc": 0.68, "log_loss": 0.5, "holdout_auc": 0.72, "labelled_share": 1.0}
SCORED |= {"trained_on": False, "decayed": False}
NOT_YET = {"labelled_share": 0.0, "auc": None, "decayed": False}


def own(flights, folder, patch):
    flights.to_parquet(folder / "own.parquet")
    patch.setenv("DATASET_URI", str(folder / "own.parquet"))


def test_the_newest_month_arrives_where_none_is_named(after_first, tmp_path):
    arrived = monitoring.arrive(tmp_path, "")
    assert arrived["month"] == "2013-12"
    assert set(data.load(arrived["flights"])["month"]) == {12}


@pytest.fixture(scope="module")
def july(first, use, source, tmp_path_factory):
    """July as the champion of March sees it: arrived, drifted, performed; and what was logged."""
    folder = tmp_path_factory.mktemp("july")
    with pytest.MonkeyPatch.context() as patch:
        client = use(first.database, folder, patch)
        patch.setenv("DATASET_URI", str(source))
        arrived = monitoring.arrive(folder, "2013-07")
        drifted = monitoring.measure_drift(arrived)
        performed = monitoring.measure_performance(arrived, drifted)
        run = client.get_run(drifted["run_id"])
        logged = {
            "run": run,
            "files": {one.path for one in client.list_artifacts(drifted["run_id"])},
            "experiment": client.get_experiment(run.info.experiment_id).name,
            "lines": monitoring.tell(drifted, performed),
            "alert": monitoring.alert(drifted, performed),
            "retrained": monitoring.tracking.trained_for("2013-07"),
        }
    return drifted, performed, logged


def test_summer_has_drifted_from_winter(july):
    drifted, _, logged = july
    assert drifted["past_threshold"]
    assert drifted["columns"]["temp"] == max(drifted["columns"].values())
    assert (drifted["version"], drifted["until"]) == ("1", "2013-03")
    assert drifted["news"]
    assert not drifted["trained_on"]
    assert newer(drifted["month"], drifted["until"], [])
    assert not logged["retrained"]


def test_the_month_is_in_mlflow_with_its_reports(july):
    drifted, performed, logged = july
    run = logged["run"]
    assert logged["experiment"] == f"{MODEL_NAME}-monitoring"
    assert {"drift.html", "drift.json", "history.png"} == logged["files"]
    assert (run.data.tags["month"], run.data.tags["champion"]) == ("2013-07", "1")
    assert (run.data.tags["drifted"], run.data.tags["decayed"]) == (
        "True",
        str(performed["decayed"]),
    )
    assert run.data.metrics["drifted_share"] == drifted["share"]
    assert run.data.metrics["psi.temp"] == drifted["columns"]["temp"]
    assert run.data.metrics["auc"] == performed["auc"]


def test_performance_is_told_beside_that_of_the_hold_out(july):
    drifted, performed, logged = july
    assert 0.5 < performed["auc"] < 0.9
    assert 0.9 < performed["labelled_share"] < 1
    assert performed["decayed"] == drift.decayed(performed["auc"], performed["holdout_auc"])
    assert logged["lines"][0] == f"month 2013-07, champion {drifted['champion']}"
    assert "temp " in logged["lines"][1]
    assert f"AUC {performed['auc']:.4f}, on its hold-out" in logged["lines"][2]


def test_the_alert_leads_to_the_report(july):
    drifted, _, logged = july
    assert logged["alert"].title.startswith(f"{MODEL_NAME} 2013-07: the flights have drifted")
    assert logged["alert"].lines == logged["lines"]
    (link,) = logged["alert"].links.values()
    assert link.startswith("http://mlflow.here/#/experiments/")
    assert link.endswith(drifted["run_id"])


def test_a_month_without_labels_is_measured_but_not_judged(
    after_first, flights, tmp_path, monkeypatch
):
    own(flights[flights["month"] == 2].assign(arr_delay=np.nan), tmp_path, monkeypatch)
    arrived = monitoring.arrive(tmp_path, "2013-02")
    drifted = monitoring.measure_drift(arrived)
    performed = monitoring.measure_performance(arrived, drifted)
    assert performed == NOT_YET
    assert "not yet, 0% of the flights arrived" in monitoring.tell(drifted, performed)[-1]
    run = after_first.get_run(drifted["run_id"])
    assert "auc" not in run.data.metrics
    assert run.data.metrics["labelled_share"] == 0
    assert tracking.monitored().empty
    assert drifted["trained_on"]
    assert not drifted["news"]
    assert not newer(drifted["month"], drifted["until"], [])
    assert monitoring.alert(drifted, performed) is None


def test_no_champion_is_refused_with_the_next_command(client, flights, tmp_path):
    arrived = {"month": "2013-07", "flights": data.save(flights.head(9), tmp_path / "f.parquet")}
    with pytest.raises(Refused, match=r"no champion to monitor: inv trigger training_pipeline$"):
        monitoring.measure_drift(arrived)


def test_a_corrupted_month_is_refused_and_the_champion_stays(
    after_first, everything, tmp_path, monkeypatch
):
    before = registry.load("champion").version
    bad = everything.iloc[::40].copy()
    row = bad.index[bad["month"] == 4][11]
    bad.loc[row, "temp"] = 999.0
    own(bad, tmp_path, monkeypatch)
    reason = rf"^bad rows: 1: row {bad.index.get_loc(row)}: temp=999"
    with pytest.raises(Refused, match=reason):
        monitoring.arrive(tmp_path / "run", "2013-04")
    assert not (tmp_path / "run").exists()
    assert monitoring.arrive(tmp_path, "2013-05")["month"] == "2013-05"
    assert registry.load("champion").version == before


def test_a_month_that_has_not_come_is_refused(after_first, tmp_path):
    with pytest.raises(Refused, match="no flights of 2014-02"):
        monitoring.arrive(tmp_path, "2014-02")


@pytest.mark.parametrize(
    ("drifted", "performed", "words"),
    [
        ({}, {}, "the flights have drifted"),
        ({}, {"decayed": True}, "the flights have drifted and the champion has decayed"),
        ({"news": False}, {"decayed": True}, "the champion has decayed"),
        ({"past_threshold": False}, {"decayed": True}, "the champion has decayed"),
        ({"news": False}, {}, None),
        ({"past_threshold": False}, {}, None),
    ],
)
def test_what_an_alert_is_worth(july, after_first, drifted, performed, words):
    run_id = after_first.search_runs([after_first.get_experiment_by_name(MODEL_NAME).experiment_id])
    looked = DRIFTED | drifted | {"run_id": run_id[0].info.run_id}
    alert = monitoring.alert(looked, SCORED | performed)
    assert (alert and alert.title) == (words and f"{MODEL_NAME} 2013-07: {words}")


def test_what_is_told_names_the_furthest_first_and_what_was_trained_on():
    lines = monitoring.tell(DRIFTED, SCORED | {"trained_on": True})
    assert lines[1].endswith("furthest by psi: temp 5.00, humid 0.40")
    assert "(it was trained on this month)" in lines[2]
    assert monitoring.tell(DRIFTED | {"columns": {}}, NOT_YET)[1].endswith("by psi: none")
