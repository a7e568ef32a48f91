"""A training from the file to the alias, on a slice of the real flights."""

import mlflow
import pandas as pd
import pytest
from ml import MODEL_NAME, MODELS, Refused, data, model, registry, tracking, training
from ml.features import FEATURES, INPUTS, WEATHER

PARAMS = {"seed": 42, "holdout_months": 1}


def versions(client):
    return sorted(str(one.version) for one in client.search_model_versions())


def champion(client):
    return str(client.get_model_version_by_alias(MODEL_NAME, "champion").version)


def again(first, attempt):
    """Train on the same data and validate, as another run of the pipeline would."""
    kind = model.pick({one["kind"]: one["metrics"] for one in first.trained})
    trained = [training.train(kind, first.table, first.ingested, PARAMS, attempt)]
    return training.validate(first.table, trained, "2013-03", 1)


def test_ingested_is_what_was_known_at_the_end_of_the_month(first, flights):
    stored = data.load(first.ingested["flights"])
    known = flights[flights["month"] <= 3].reset_index(drop=True)
    pd.testing.assert_frame_equal(stored, known)
    assert first.ingested["rows"] == len(known)
    assert first.ingested["until"] == "2013-03"
    assert first.ingested["sha256"] == data.fingerprint(known)


def test_blank_takes_all(after_first, flights, tmp_path):
    found = training.ingest(tmp_path, "")
    assert (found["rows"], found["until"]) == (len(flights), "2013-12")


def test_features_stand_beside_the_raw_columns(first):
    table = data.load(first.table)
    assert {*INPUTS, *FEATURES, "date", "late"} <= set(table)
    assert len(table) == data.load(first.ingested["flights"])["arr_delay"].notna().sum()


def test_both_kinds_are_logged_with_what_they_were_made_of(first, after_first):
    assert [one["kind"] for one in first.trained] == list(MODELS)
    for one in first.trained:
        run = after_first.get_run(one["run_id"])
        assert run.info.run_name == f"first/{one['kind']}"
        assert run.data.params["trained_days"].startswith("2013-01-01/2013-0")
        assert run.data.params["held_out_days"].endswith("/2013-03-31")
        assert (run.data.params["until"], run.data.params["seed"]) == ("2013-03", "42")
        assert run.data.tags["data_sha256"] == first.ingested["sha256"]
        assert one["metrics"].items() <= run.data.metrics.items()
        assert run.data.metrics["auc.2013-03"] == one["metrics"]["auc"]
        rows = int(run.data.params["trained_rows"])
        assert len(tracking.reference(one["run_id"])) == rows
        assert rows + int(run.data.params["held_out_rows"]) == len(data.load(first.table))


def test_the_first_is_champion(first, after_first):
    assert (first.verdict["alias"], first.verdict["version"]) == ("champion", "1")
    assert first.verdict["until"] == "2013-03"
    assert (versions(after_first), champion(after_first)) == (["1"], "1")
    kind = model.pick({one["kind"]: one["metrics"] for one in first.trained})
    assert after_first.get_model_version(MODEL_NAME, "1").tags == {"model": kind}
    assert tracking.trained_for("2013-03")
    (judged,) = tracking.judged().to_dict("records")
    assert (judged["month"], judged["verdict"]) == ("2013-03", "champion")
    assert judged["auc"] == pytest.approx(first.verdict["auc"])


def test_the_report_names_the_champion_and_where_to_look(first):
    held_out, role, mlflow_line = first.verdict["report"]
    assert held_out.startswith("held out: ")
    assert held_out.endswith("2013-03-31")
    assert role.startswith("champion ")
    assert "version 1 (" in role
    assert f"auc {first.verdict['auc']:.4f}" in role
    assert mlflow_line.split() == ["MLflow", f"http://mlflow.here/#/models/{MODEL_NAME}"]


def test_a_retried_validation_keeps_version_and_champion(first, after_first):
    retried = training.validate(first.table, first.trained, "2013-03", 1)
    assert retried == first.verdict
    assert (versions(after_first), champion(after_first)) == (["1"], "1")


def test_the_same_again_is_a_challenger(first, after_first):
    verdict = again(first, "second")
    assert (verdict["alias"], verdict["version"]) == ("challenger", "2")
    assert champion(after_first) == "1"
    roles = [line.split()[0] for line in verdict["report"]]
    assert roles == ["held", "champion", "challenger", "MLflow"]
    assert "version 1 (" in verdict["report"][1]
    assert "version 2 (" in verdict["report"][2]
    run = after_first.get_run(registry.load("2").run_id)
    assert run.data.metrics["champion_auc"] == pytest.approx(verdict["auc"])
    assert run.data.tags["verdict"] == "challenger"


def test_a_better_one_takes_over_from_the_champion(first, after_first, monkeypatch):
    monkeypatch.setattr(model, "AUC_MARGIN", -1.0)
    surest, other = sorted(first.trained, key=lambda one: one["metrics"]["log_loss"])
    old = registry.register(other["run_id"], other["model_uri"], {})
    registry.award("champion", old)
    verdict = training.validate(first.table, [surest], "2013-03", 1)
    assert verdict["alias"] == "champion"
    assert champion(after_first) == verdict["version"] != old
    assert verdict["report"][1].startswith(f"champion        version {verdict['version']} (")
    assert verdict["report"][2].startswith(f"champion before version {old} (")


def test_a_corrupted_batch_trains_nothing(after_first, everything, tmp_path, monkeypatch):
    bad = everything.iloc[::400].assign(distance=0)
    bad.to_parquet(tmp_path / "bad.parquet")
    monkeypatch.setenv("DATASET_URI", str(tmp_path / "bad.parquet"))
    with pytest.raises(Refused, match=r"^bad rows: .*distance=0"):
        training.ingest(tmp_path / "run", "")
    assert not (tmp_path / "run").exists()
    assert champion(after_first) == "1"


def test_a_month_beyond_the_data_is_refused(after_first, tmp_path):
    with pytest.raises(Refused, match="no flights of 2014-01"):
        training.ingest(tmp_path, "2014-01")


def test_a_champion_that_cannot_score_the_flights_is_refused(first, after_first, tmp_path):
    table = data.load(first.table).drop(columns="carrier")
    without = data.save(table, tmp_path / "without.parquet")
    with pytest.raises(Refused, match="needs 'carrier'"):
        training.validate(without, first.trained, "2013-03", 1)
    assert champion(after_first) == "1"


def test_the_champion_serves_raw_flights(after_first, everything):
    served = mlflow.pyfunc.load_model(f"models:/{MODEL_NAME}@champion")
    chances = served.predict(everything.head(100).drop(columns=WEATHER))
    assert chances.shape == (100, 2)
