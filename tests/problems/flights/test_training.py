"""Test training from the data file to the alias, on a slice of the real flights."""

import mlflow
import pandas as pd
import pytest
from ml import Refused, data, registry, scores, tracking, training
from problems.flights import PROBLEM as FLIGHTS
from problems.flights.features import WEATHER

from tests.problems.flights.calls import FEATURES, INPUTS

PARAMS = {"seed": 42, "holdout": 1}


def versions(client):
    return sorted(str(entry.version) for entry in client.search_model_versions())


def champion(client):
    return str(client.get_model_version_by_alias(FLIGHTS.name, "champion").version)


def train_again(first, attempt, **changes):
    """Train and validate on the same data, as another run of the pipeline would."""
    kind = scores.pick(FLIGHTS, {model["kind"]: model["metrics"] for model in first.trained})
    candidates = [
        training.train(FLIGHTS, kind, first.tables, first.ingested, PARAMS | changes, attempt)
    ]
    return training.validate(FLIGHTS, first.tables, candidates, "2013-03", 1)


def test_ingest_stores_rows_to_end_of_month(first, flights):
    rows = data.load(first.ingested["rows"])
    expected = flights[flights["month"] <= 3].reset_index(drop=True)
    pd.testing.assert_frame_equal(rows, expected)
    assert first.ingested["count"] == len(expected)
    assert first.ingested["until"] == "2013-03"
    assert first.ingested["sha256"] == data.fingerprint(expected)


def test_ingest_blank_period_takes_all_rows(after_first, flights, tmp_path):
    result = training.ingest(FLIGHTS, tmp_path, "")
    assert (result["count"], result["until"]) == (len(flights), "2013-12")


def test_make_features_stores_rows_and_features(first):
    rows, table = data.load(first.tables["rows"]), data.load(first.tables["features"])
    assert {*INPUTS, "late"} <= set(rows)
    assert list(table) == FEATURES
    assert len(rows) == len(table) == data.load(first.ingested["rows"])["arr_delay"].notna().sum()


def test_train_logs_origin_of_each_model(first, after_first):
    assert [model["kind"] for model in first.trained] == list(FLIGHTS.models)
    for model in first.trained:
        run = after_first.get_run(model["run_id"])
        assert run.info.run_name == f"{model['kind']} 2013-03"
        assert run.data.params["trained_days"].startswith("2013-01-01/2013-0")
        assert run.data.params["held_out_days"].endswith("/2013-03-31")
        assert (run.data.params["until"], run.data.params["seed"]) == ("2013-03", "42")
        assert run.data.tags["data_sha256"] == first.ingested["sha256"]
        assert model["metrics"].items() <= run.data.metrics.items()
        assert run.data.metrics["auc.2013-03"] == model["metrics"]["auc"]
        rows = int(run.data.params["trained_rows"])
        assert len(tracking.reference(model["run_id"])) == rows
        assert rows + int(run.data.params["held_out_rows"]) == len(data.load(first.tables["rows"]))


def test_validate_first_model_becomes_champion(first, after_first):
    assert (first.verdict["alias"], first.verdict["version"]) == ("champion", "1")
    assert first.verdict["until"] == "2013-03"
    assert (versions(after_first), champion(after_first)) == (["1"], "1")
    kind = scores.pick(FLIGHTS, {model["kind"]: model["metrics"] for model in first.trained})
    assert after_first.get_model_version(FLIGHTS.name, "1").tags == {"model": kind}
    assert tracking.is_trained_for(FLIGHTS, "2013-03")
    (training_row,) = tracking.validated(FLIGHTS).to_dict("records")
    assert (training_row["period"], training_row["verdict"]) == ("2013-03", "champion")
    assert training_row["auc"] == pytest.approx(first.verdict["metric"])


def test_report_names_champion_and_mlflow_page(first):
    held_out, role, _, mlflow_line = first.verdict["report"]
    assert held_out.startswith("held out: ")
    assert held_out.endswith("2013-03-31")
    assert role.startswith("champion ")
    assert "version 1 (" in role
    assert f"auc {first.verdict['metric']:.4f}" in role
    assert mlflow_line.split() == ["MLflow", f"http://mlflow.here/#/models/{FLIGHTS.name}"]


def test_validate_retry_keeps_version_and_champion(first, after_first):
    verdict = training.validate(FLIGHTS, first.tables, first.trained, "2013-03", 1)
    assert verdict == first.verdict
    assert (versions(after_first), champion(after_first)) == (["1"], "1")


def test_validate_other_seed_becomes_challenger(first, after_first):
    verdict = train_again(first, "second", seed=7)
    assert (verdict["alias"], verdict["version"]) == ("challenger", "2")
    assert champion(after_first) == "1"
    roles = [line.split()[0] for line in verdict["report"]]
    assert roles == ["held", "champion", "challenger", "baseline", "MLflow"]
    assert "version 1 (" in verdict["report"][1]
    assert "version 2 (" in verdict["report"][2]
    run = after_first.get_run(registry.load(FLIGHTS.name, "2").run_id)
    assert run.data.metrics["champion_auc"] == pytest.approx(first.verdict["metric"])
    assert run.data.tags["verdict"] == "challenger"


def test_validate_better_model_becomes_champion(first, after_first, monkeypatch):
    monkeypatch.setattr(scores, "better", lambda *_: True)
    winner, loser = sorted(first.trained, key=lambda model: model["metrics"]["log_loss"])
    old = registry.register(FLIGHTS.name, loser["run_id"], loser["uri"], "champion", {})
    verdict = training.validate(FLIGHTS, first.tables, [winner], "2013-03", 1)
    assert verdict["alias"] == "champion"
    assert champion(after_first) == verdict["version"] != old
    assert verdict["report"][1].startswith(f"champion        version {verdict['version']} (")
    assert verdict["report"][2].startswith(f"old champion    version {old} (")


def test_ingest_corrupted_batch_is_refused(after_first, all_flights, tmp_path, monkeypatch):
    bad = all_flights.iloc[::400].assign(distance=0)
    bad.to_parquet(tmp_path / "bad.parquet")
    monkeypatch.setenv("DATASET_URI", str(tmp_path / "bad.parquet"))
    with pytest.raises(Refused, match=r"^bad rows: .*distance=0"):
        training.ingest(FLIGHTS, tmp_path / "run", "")
    assert not (tmp_path / "run").exists()
    assert champion(after_first) == "1"


def test_ingest_future_month_is_refused(after_first, tmp_path):
    with pytest.raises(Refused, match="no flights of 2014-01"):
        training.ingest(FLIGHTS, tmp_path, "2014-01")


def test_validate_incompatible_champion_is_refused(first, after_first, tmp_path):
    table = data.load(first.tables["rows"]).drop(columns="carrier")
    tables = {"rows": data.save(table, tmp_path / "without.parquet")}
    with pytest.raises(Refused, match="needs 'carrier'"):
        training.validate(FLIGHTS, tables, first.trained, "2013-03", 1)
    assert champion(after_first) == "1"


def test_champion_predicts_raw_flights(after_first, all_flights):
    served_model = mlflow.pyfunc.load_model(f"models:/{FLIGHTS.name}@champion")
    chances = served_model.predict(all_flights.head(100).drop(columns=WEATHER))
    assert chances.shape == (100, 2)
