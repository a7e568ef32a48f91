"""A training from the file to the alias, on a slice of the real flights."""

import mlflow
import pandas as pd
import pytest
from ml import Refused, data, registry, scores, tracking, training
from problems.flights import PROBLEM as FLIGHTS
from problems.flights.features import WEATHER

from tests.problems.flights import FEATURES, INPUTS

PARAMS = {"seed": 42, "holdout": 1}


def versions(client):
    return sorted(str(one.version) for one in client.search_model_versions())


def champion(client):
    return str(client.get_model_version_by_alias(FLIGHTS.name, "champion").version)


def again(first, attempt, **changes):
    """Train on the same data and validate, as another run of the pipeline would."""
    kind = scores.pick(FLIGHTS, {one["kind"]: one["metrics"] for one in first.trained})
    trained = [
        training.train(FLIGHTS, kind, first.tables, first.ingested, PARAMS | changes, attempt)
    ]
    return training.validate(FLIGHTS, first.tables, trained, "2013-03", 1)


def test_ingested_is_what_was_known_at_the_end_of_the_month(first, flights):
    stored = data.load(first.ingested["rows"])
    known = flights[flights["month"] <= 3].reset_index(drop=True)
    pd.testing.assert_frame_equal(stored, known)
    assert first.ingested["count"] == len(known)
    assert first.ingested["until"] == "2013-03"
    assert first.ingested["sha256"] == data.fingerprint(known)


def test_blank_takes_all(after_first, flights, tmp_path):
    found = training.ingest(FLIGHTS, tmp_path, "")
    assert (found["count"], found["until"]) == (len(flights), "2013-12")


def test_features_stand_beside_the_raw_columns(first):
    rows, table = data.load(first.tables["rows"]), data.load(first.tables["features"])
    assert {*INPUTS, "late"} <= set(rows)
    assert list(table) == FEATURES
    assert len(rows) == len(table) == data.load(first.ingested["rows"])["arr_delay"].notna().sum()


def test_both_kinds_are_logged_with_what_they_were_made_of(first, after_first):
    assert [one["kind"] for one in first.trained] == list(FLIGHTS.models)
    for one in first.trained:
        run = after_first.get_run(one["run_id"])
        assert run.info.run_name == f"{one['kind']} 2013-03"
        assert run.data.params["trained_days"].startswith("2013-01-01/2013-0")
        assert run.data.params["held_out_days"].endswith("/2013-03-31")
        assert (run.data.params["until"], run.data.params["seed"]) == ("2013-03", "42")
        assert run.data.tags["data_sha256"] == first.ingested["sha256"]
        assert one["metrics"].items() <= run.data.metrics.items()
        assert run.data.metrics["auc.2013-03"] == one["metrics"]["auc"]
        rows = int(run.data.params["trained_rows"])
        assert len(tracking.reference(one["run_id"])) == rows
        assert rows + int(run.data.params["held_out_rows"]) == len(data.load(first.tables["rows"]))


def test_the_first_is_champion(first, after_first):
    assert (first.verdict["alias"], first.verdict["version"]) == ("champion", "1")
    assert first.verdict["until"] == "2013-03"
    assert (versions(after_first), champion(after_first)) == (["1"], "1")
    kind = scores.pick(FLIGHTS, {one["kind"]: one["metrics"] for one in first.trained})
    assert after_first.get_model_version(FLIGHTS.name, "1").tags == {"model": kind}
    assert tracking.is_trained_for(FLIGHTS, "2013-03")
    (judged,) = tracking.validated(FLIGHTS).to_dict("records")
    assert (judged["period"], judged["verdict"]) == ("2013-03", "champion")
    assert judged["auc"] == pytest.approx(first.verdict["metric"])


def test_the_report_names_the_champion_and_where_to_look(first):
    held_out, role, _, mlflow_line = first.verdict["report"]
    assert held_out.startswith("held out: ")
    assert held_out.endswith("2013-03-31")
    assert role.startswith("champion ")
    assert "version 1 (" in role
    assert f"auc {first.verdict['metric']:.4f}" in role
    assert mlflow_line.split() == ["MLflow", f"http://mlflow.here/#/models/{FLIGHTS.name}"]


def test_a_retried_validation_keeps_version_and_champion(first, after_first):
    retried = training.validate(FLIGHTS, first.tables, first.trained, "2013-03", 1)
    assert retried == first.verdict
    assert (versions(after_first), champion(after_first)) == (["1"], "1")


def test_other_seed_is_a_challenger(first, after_first):
    verdict = again(first, "second", seed=7)
    assert (verdict["alias"], verdict["version"]) == ("challenger", "2")
    assert champion(after_first) == "1"
    roles = [line.split()[0] for line in verdict["report"]]
    assert roles == ["held", "champion", "challenger", "baseline", "MLflow"]
    assert "version 1 (" in verdict["report"][1]
    assert "version 2 (" in verdict["report"][2]
    run = after_first.get_run(registry.load(FLIGHTS.name, "2").run_id)
    assert run.data.metrics["champion_auc"] == pytest.approx(first.verdict["metric"])
    assert run.data.tags["verdict"] == "challenger"


def test_a_better_one_takes_over_from_the_champion(first, after_first, monkeypatch):
    monkeypatch.setattr(scores, "better", lambda *_: True)
    surest, other = sorted(first.trained, key=lambda one: one["metrics"]["log_loss"])
    old = registry.register(FLIGHTS.name, other["run_id"], other["model_uri"], {})
    registry.set_alias(FLIGHTS.name, "champion", old)
    verdict = training.validate(FLIGHTS, first.tables, [surest], "2013-03", 1)
    assert verdict["alias"] == "champion"
    assert champion(after_first) == verdict["version"] != old
    assert verdict["report"][1].startswith(f"champion        version {verdict['version']} (")
    assert verdict["report"][2].startswith(f"champion before version {old} (")


def test_a_corrupted_batch_trains_nothing(after_first, everything, tmp_path, monkeypatch):
    bad = everything.iloc[::400].assign(distance=0)
    bad.to_parquet(tmp_path / "bad.parquet")
    monkeypatch.setenv("DATASET_URI", str(tmp_path / "bad.parquet"))
    with pytest.raises(Refused, match=r"^bad rows: .*distance=0"):
        training.ingest(FLIGHTS, tmp_path / "run", "")
    assert not (tmp_path / "run").exists()
    assert champion(after_first) == "1"


def test_a_month_beyond_the_data_is_refused(after_first, tmp_path):
    with pytest.raises(Refused, match="no flights of 2014-01"):
        training.ingest(FLIGHTS, tmp_path, "2014-01")


def test_a_champion_that_cannot_score_the_flights_is_refused(first, after_first, tmp_path):
    table = data.load(first.tables["rows"]).drop(columns="carrier")
    without = {"rows": data.save(table, tmp_path / "without.parquet")}
    with pytest.raises(Refused, match="needs 'carrier'"):
        training.validate(FLIGHTS, without, first.trained, "2013-03", 1)
    assert champion(after_first) == "1"


def test_the_champion_serves_raw_flights(after_first, everything):
    served = mlflow.pyfunc.load_model(f"models:/{FLIGHTS.name}@champion")
    chances = served.predict(everything.head(100).drop(columns=WEATHER))
    assert chances.shape == (100, 2)
