"""Runs, the registry and its aliases, against a real MLflow on SQLite."""

import os
import sys
import traceback
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pandas as pd
import pytest
from ml import MODEL_NAME, MODELS, carried, model, plots, registry, tracking
from ml.features import FEATURES, INPUTS, WEATHER

Parts = tuple[pd.DataFrame, pd.DataFrame]
Logged = dict[str, tuple[str, str]]


def log(parts, fitted, kind, **others):
    """Log a training as `training.train` does; returns (run id, model URI)."""
    arguments = {
        "params": {"seed": 1, "model": kind, "until": "2013-12"},
        "metrics": {"auc": 0.7, "auc.2013-12": 0.7},
        "tags": {"data_sha256": "abc"},
        "figures": {},
        "monthly": pd.DataFrame({"month": ["2013-12"], "auc": [0.7]}),
        "reference": model.as_seen(fitted[kind], parts[0].head(100)),
    }
    example = parts[0][INPUTS].head().astype({"distance": int})
    return tracking.log_training(f"run/{kind}", fitted[kind], example, **arguments | others)


@pytest.fixture(scope="module")
def before(store, use, parts, fitted, tmp_path_factory):
    """A database in which both kinds were logged once, and what `log` returned for each."""
    folder = tmp_path_factory.mktemp("logged")
    late, chance = parts[1]["late"], model.score(fitted["boosted"], parts[1])
    figures = plots.of_training("boosted", late, chance, pd.Series(0.0, FEATURES))
    with pytest.MonkeyPatch.context() as patch:
        use(store, folder, patch)
        patch.setenv("CODE_VERSION", "v1")
        others: dict[str, Any] = {"linear": {}, "boosted": {"figures": figures}}
        logged = {kind: log(parts, fitted, kind, **given) for kind, given in others.items()}
        return folder / "mlflow.db", logged


@pytest.fixture
def logged(before, use, tmp_path, monkeypatch):
    """MLflow on a copy of that database."""
    return use(before[0], tmp_path, monkeypatch), before[1]


def files(client, run_id, folder=""):
    return {one.path for one in client.list_artifacts(run_id, folder)}


def test_a_run_tells_where_its_model_comes_from(logged):
    client, runs = logged
    run = client.get_run(runs["boosted"][0])
    assert client.get_experiment(run.info.experiment_id).name == MODEL_NAME
    assert (run.info.run_name, run.info.status) == ("run/boosted", "FINISHED")
    assert run.data.params == {"seed": "1", "model": "boosted", "until": "2013-12"}
    assert run.data.metrics == {"auc": 0.7, "auc.2013-12": 0.7}
    assert (run.data.tags["data_sha256"], run.data.tags["code_version"]) == ("abc", "v1")


def test_pictures_months_reference_and_code_are_kept(logged, parts, fitted):
    client, runs = logged
    run_id = runs["boosted"][0]
    assert {"plots", "monthly.json", "reference.parquet", "code"} <= files(client, run_id)
    names = ("roc", "calibration", "importance")
    assert files(client, run_id, "plots") == {f"plots/{name}.png" for name in names}
    source = {f"code/{file.name}" for file in Path(tracking.__file__).parent.glob("*.py")}
    assert files(client, run_id, "code") == source > {"code/features.py", "code/model.py"}
    expected = model.as_seen(fitted["boosted"], parts[0].head(100))
    pd.testing.assert_frame_equal(tracking.reference(run_id), expected)


def stages(client, *runs):
    return [client.get_run(one).info.lifecycle_stage for one in runs]


def test_what_a_died_attempt_left_is_deleted(logged, parts, fitted):
    client, runs = logged
    again, _ = log(parts, fitted, "boosted")
    found = stages(client, runs["boosted"][0], runs["linear"][0], again)
    assert found == ["deleted", "active", "active"]


def test_a_logging_that_is_cut_off_is_marked_and_leaves_no_open_run(
    logged, parts, fitted, monkeypatch
):
    def crash(*_):
        raise KeyboardInterrupt

    client, runs = logged
    monkeypatch.setattr(tracking, "_log_model", crash)
    with pytest.raises(KeyboardInterrupt):
        log(parts, fitted, "boosted")
    experiment = client.get_experiment_by_name(MODEL_NAME).experiment_id
    newest = client.search_runs([experiment], "tags.attempt = 'run/boosted'")
    assert [run.info.status for run in newest] == ["FAILED"]
    assert stages(client, runs["boosted"][0]) == ["deleted"]
    assert mlflow.active_run() is None


@pytest.mark.parametrize("kind", MODELS)
def test_the_registered_model_predicts_as_the_trained_one(logged, parts, fitted, kind):
    run_id, uri = logged[1][kind]
    rows = parts[1][INPUTS].head(50)
    expected = fitted[kind].predict_proba(rows)
    version = registry.register(run_id, uri, {"model": kind})
    found = registry.load(version)
    assert np.array_equal(found.model.predict_proba(rows), expected)
    assert np.array_equal(registry.load_logged(uri).predict_proba(rows), expected)
    assert (found.version, found.run_id, found.metrics["auc"]) == (version, run_id, 0.7)
    assert str(found) == f"version 1 ({kind}, data to 2013-12)"


def test_one_run_is_one_version(logged):
    client, runs = logged
    asked = [runs[kind] for kind in ("linear", "linear", "boosted", "linear")]
    assert [registry.register(*one, {"model": "x"}) for one in asked] == ["1", "1", "2", "1"]
    assert client.get_model_version(MODEL_NAME, "1").tags == {"model": "x"}
    assert client.get_model_version(MODEL_NAME, "1").run_id == runs["linear"][0]


def test_aliases_move_and_where_there_is_none_nothing_is_loaded(logged):
    assert (registry.load("champion"), registry.load("1")) == (None, None)
    for kind, expected in (("linear", "1"), ("boosted", "2")):
        version = registry.register(*logged[1][kind], {})
        assert registry.load("challenger") is None
        registry.award("champion", version)
        assert registry.load("champion").version == expected
    assert registry.load("3") is None


def test_weather_is_optional_in_the_signature_and_the_rest_is_required(logged):
    info = mlflow.models.get_model_info(logged[1]["boosted"][1])
    assert info.signature.inputs.input_names() == INPUTS
    assert set(info.signature.inputs.required_input_names()) == set(INPUTS) - set(WEATHER)
    assert info.signature.outputs is not None


def forgetting(work):
    """Do something in a fork that knows nothing of this code; returns its exit code.

    A fork, because another interpreter takes ten seconds to import what this one has.
    """
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    try:
        own = carried.features_of_its_own().__name__
        for name in [name for name in sys.modules if name.partition(".")[0] in ("ml", own)]:
            del sys.modules[name]
        sys.path[:] = [path for path in sys.path if not path.endswith("dags")]
        work()
        code = 1 if "ml" in sys.modules else 0
    except BaseException:
        traceback.print_exc()
        code = 2
    os._exit(code)


def test_another_process_without_this_code_predicts_on_raw_flights(
    logged, everything, fitted, tmp_path
):
    version = registry.register(*logged[1]["boosted"], {})
    raw = everything.tail(2000).drop(columns=WEATHER)
    assert {"tailnum", "air_time", "dep_delay"} <= set(raw)

    def predict():
        served = mlflow.pyfunc.load_model(f"models:/{MODEL_NAME}/{version}")
        pd.DataFrame(served.predict(raw)).to_csv(tmp_path / "chances.csv", index=False)
        assert served.input_example is not None

    assert forgetting(predict) == 0
    found = pd.read_csv(tmp_path / "chances.csv").to_numpy()
    assert found[:, 1] == pytest.approx(model.score(fitted["boosted"], raw), abs=1e-12)


def test_links_lead_where_a_browser_gets(logged, monkeypatch):
    client, runs = logged
    monkeypatch.delenv("MLFLOW_PUBLIC_URL")
    assert tracking.link("models") == f"{mlflow.get_tracking_uri()}/#/models"
    monkeypatch.setenv("MLFLOW_PUBLIC_URL", "http://here:5000")
    run_id, _ = runs["linear"]
    experiment = client.get_run(run_id).info.experiment_id
    expected = f"http://here:5000/#/experiments/{experiment}/runs/{run_id}"
    assert tracking.link_to_run(run_id) == expected


def test_a_month_is_trained_for_once_the_verdict_is_there(logged):
    run_id, _ = logged[1]["linear"]
    assert not tracking.trained_for("2013-12")
    tracking.add_to(run_id, {"champion_auc": 0.6}, {"verdict": "challenger"})
    assert tracking.trained_for("2013-12")
    assert not tracking.trained_for("2013-11")
