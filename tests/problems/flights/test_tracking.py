"""Test runs, the model registry and its aliases with a real MLflow on SQLite."""

import os
import sys
import traceback
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pandas as pd
import pytest
from ml import carried, model, plots, registry, tracking
from problems.flights import PROBLEM as FLIGHTS
from problems.flights.features import WEATHER

from tests.problems.flights.calls import FEATURES, INPUTS, as_predictions, score

Parts = tuple[pd.DataFrame, pd.DataFrame]
Logged = dict[str, tuple[str, str]]


def log(parts, models, kind, **changes):
    """Log a training as `training.train` does, and return the run ID and the model URI."""
    arguments = {
        "params": {"seed": 1, "model": kind, "until": "2013-12"},
        "metrics": {"auc": 0.7, "auc.2013-12": 0.7},
        "data_sha256": "abc",
        "figures": {},
        "by_period": pd.DataFrame({"month": ["2013-12"], "auc": [0.7]}),
        "rows": parts[0].head(100),
        "reference": model.as_seen(FLIGHTS, models[kind], parts[0].head(100)),
    }
    training = tracking.Training(**arguments | changes)
    return tracking.log_training(
        FLIGHTS, f"run/{kind}", f"{kind} 2013-12", models[kind], parts[0][INPUTS].head(), training
    )


@pytest.fixture(scope="module")
def trainings(store, use, parts, models, tmp_path_factory):
    """Return a database with a training of each kind, and what `log` returned for each."""
    folder = tmp_path_factory.mktemp("logged")
    late, chance = parts[1]["late"], score(models["boosted"], parts[1])
    figures = plots.of_training(
        FLIGHTS, "boosted", late, as_predictions(chance), pd.Series(0.0, FEATURES)
    )
    with pytest.MonkeyPatch.context() as patch:
        use(store, folder, patch)
        patch.setenv("CODE_VERSION", "v1")
        options: dict[str, Any] = {"linear": {}, "boosted": {"figures": figures}}
        results = {
            kind: log(parts, models, kind, **arguments) for kind, arguments in options.items()
        }
        return folder / "mlflow.db", results


@pytest.fixture
def mlflow_copy(trainings, use, tmp_path, monkeypatch):
    """Return a client of a copy of that database, and what `log` returned for each kind."""
    return use(trainings[0], tmp_path, monkeypatch), trainings[1]


def files(client, run_id, folder=""):
    return {file.path for file in client.list_artifacts(run_id, folder)}


def test_run_records_origin_of_model(mlflow_copy):
    client, runs = mlflow_copy
    run = client.get_run(runs["boosted"][0])
    assert client.get_experiment(run.info.experiment_id).name == FLIGHTS.name
    assert (run.info.run_name, run.info.status) == ("boosted 2013-12", "FINISHED")
    assert run.data.params == {"seed": "1", "model": "boosted", "until": "2013-12"}
    assert run.data.metrics == {"auc": 0.7, "auc.2013-12": 0.7}
    assert (run.data.tags["data_sha256"], run.data.tags["code_version"]) == ("abc", "v1")


def test_run_stores_plots_months_reference_and_code(mlflow_copy, parts, models):
    client, runs = mlflow_copy
    run_id = runs["boosted"][0]
    assert {"plots", "by_month.json", "reference.parquet", "code"} <= files(client, run_id)
    names = ("roc", "calibration", "importance")
    assert files(client, run_id, "plots") == {f"plots/{name}.png" for name in names}
    source = {f"code/ml/{file.name}" for file in Path(tracking.__file__).parent.glob("*.py")}
    assert files(client, run_id, "code/ml") == source > {"code/ml/features.py", "code/ml/model.py"}
    assert "code/problem/table.py" in files(client, run_id, "code/problem")
    expected = model.as_seen(FLIGHTS, models["boosted"], parts[0].head(100))
    pd.testing.assert_frame_equal(tracking.reference(run_id), expected)


def stages(client, *run_ids):
    return [client.get_run(run_id).info.lifecycle_stage for run_id in run_ids]


def test_log_repeated_attempt_deletes_previous_run(mlflow_copy, parts, models):
    client, runs = mlflow_copy
    new_run_id, _ = log(parts, models, "boosted")
    states = stages(client, runs["boosted"][0], runs["linear"][0], new_run_id)
    assert states == ["deleted", "active", "active"]


def test_log_interruption_leaves_failed_run(mlflow_copy, parts, models, monkeypatch):
    def crash(*_):
        raise KeyboardInterrupt

    client, runs = mlflow_copy
    monkeypatch.setattr(registry, "log_model", crash)
    with pytest.raises(KeyboardInterrupt):
        log(parts, models, "boosted")
    experiment = client.get_experiment_by_name(FLIGHTS.name).experiment_id
    newest = client.search_runs([experiment], "tags.attempt = 'run/boosted'")
    assert [run.info.status for run in newest] == ["FAILED"]
    assert stages(client, runs["boosted"][0]) == ["deleted"]
    assert mlflow.active_run() is None


@pytest.mark.parametrize("kind", FLIGHTS.models)
def test_registered_model_predicts_like_trained_model(mlflow_copy, parts, models, kind):
    run_id, uri = mlflow_copy[1][kind]
    rows = parts[1][INPUTS].head(50)
    expected = models[kind].predict_proba(rows)
    version = registry.register(FLIGHTS.name, run_id, uri, "challenger", {"model": kind})
    entry = registry.load(FLIGHTS.name, version)
    assert np.array_equal(entry.model.predict_proba(rows), expected)
    assert np.array_equal(registry.load_logged(uri).predict_proba(rows), expected)
    assert (entry.version, entry.run_id, entry.metrics["auc"]) == (version, run_id, 0.7)
    assert str(entry) == f"version 1 ({kind}, data to 2013-12)"


def test_register_same_run_returns_same_version(mlflow_copy):
    client, runs = mlflow_copy
    order = [runs[kind] for kind in ("linear", "linear", "boosted", "linear")]
    assert [
        registry.register(FLIGHTS.name, *result, "challenger", {"model": "x"}) for result in order
    ] == [
        "1",
        "1",
        "2",
        "1",
    ]
    assert client.get_model_version(FLIGHTS.name, "1").tags == {"model": "x"}
    assert client.get_model_version(FLIGHTS.name, "1").run_id == runs["linear"][0]


def test_load_follows_alias_or_returns_none(mlflow_copy):
    assert (registry.load(FLIGHTS.name, "champion"), registry.load(FLIGHTS.name, "1")) == (
        None,
        None,
    )
    for kind, expected in (("linear", "1"), ("boosted", "2")):
        registry.register(FLIGHTS.name, *mlflow_copy[1][kind], "champion", {})
        assert registry.load(FLIGHTS.name, "challenger") is None
        assert registry.load(FLIGHTS.name, "champion").version == expected
    assert registry.load(FLIGHTS.name, "3") is None


def test_signature_requires_all_inputs_but_weather(mlflow_copy):
    info = mlflow.models.get_model_info(mlflow_copy[1]["boosted"][1])
    assert info.signature.inputs.input_names() == INPUTS
    assert set(info.signature.inputs.required_input_names()) == set(INPUTS) - set(WEATHER)
    assert info.signature.outputs is not None


def run_without_dags(work):
    """Run a function in a fork without the code in `dags`, and return the fork's exit code.

    A new interpreter would take ten seconds to import what a fork already has.
    """
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    try:
        carried_name = carried.of(FLIGHTS).module.__name__
        for name in [
            name for name in sys.modules if name.partition(".")[0] in ("ml", carried_name)
        ]:
            del sys.modules[name]
        sys.path[:] = [path for path in sys.path if not path.endswith("dags")]
        work()
        code = 1 if "ml" in sys.modules else 0
    except BaseException:
        traceback.print_exc()
        code = 2
    os._exit(code)


def test_served_model_predicts_without_code_in_dags(mlflow_copy, all_flights, models, tmp_path):
    version = registry.register(FLIGHTS.name, *mlflow_copy[1]["boosted"], "challenger", {})
    raw = all_flights.tail(2000).drop(columns=WEATHER)
    assert {"tailnum", "air_time", "dep_delay"} <= set(raw)

    def predict():
        served_model = mlflow.pyfunc.load_model(f"models:/{FLIGHTS.name}/{version}")
        pd.DataFrame(served_model.predict(raw)).to_csv(tmp_path / "chances.csv", index=False)
        assert served_model.input_example is not None

    assert run_without_dags(predict) == 0
    chances = pd.read_csv(tmp_path / "chances.csv").to_numpy()
    assert chances[:, 1] == pytest.approx(score(models["boosted"], raw), abs=1e-12)


def test_link_uses_public_url(mlflow_copy, monkeypatch):
    client, runs = mlflow_copy
    monkeypatch.delenv("MLFLOW_PUBLIC_URL")
    assert tracking.link("models") == f"{mlflow.get_tracking_uri()}/#/models"
    monkeypatch.setenv("MLFLOW_PUBLIC_URL", "http://here:5000")
    run_id, _ = runs["linear"]
    experiment = client.get_run(run_id).info.experiment_id
    expected = f"http://here:5000/#/experiments/{experiment}/runs/{run_id}"
    assert tracking.link(run_id=run_id) == expected


def test_is_trained_for_month_with_verdict_is_true(mlflow_copy):
    run_id, _ = mlflow_copy[1]["linear"]
    assert not tracking.is_trained_for(FLIGHTS, "2013-12")
    tracking.add_to(run_id, {"champion_auc": 0.6}, {"verdict": "challenger"})
    assert tracking.is_trained_for(FLIGHTS, "2013-12")
    assert not tracking.is_trained_for(FLIGHTS, "2013-11")
