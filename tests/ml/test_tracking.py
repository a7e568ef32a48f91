from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pandas as pd
import pytest
from ml import MODEL_NAME, model, tracking
from ml.features import FEATURES

METRICS = {"baseline": {"auc": 0.6}, "candidate": {"auc": 0.7, "brier": 0.16}}


@pytest.fixture
def client(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, store: Path) -> mlflow.MlflowClient:
    """MLflow on a new SQLite file and folder, no server."""
    own = tmp_path / "mlflow.db"
    own.write_bytes(store.read_bytes())
    monkeypatch.chdir(tmp_path)
    mlflow.set_tracking_uri(f"sqlite:///{own}")
    mlflow.set_registry_uri(f"sqlite:///{own}")
    return mlflow.MlflowClient()


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty database, its schema made once and copied for each test."""
    file = tmp_path_factory.mktemp("store") / "empty.db"
    mlflow.MlflowClient(f"sqlite:///{file}").search_experiments()
    return file


@pytest.fixture(scope="session")
def fitted(table: pd.DataFrame) -> Any:
    return model.fit(model.candidate(1), table)


def register(fitted: Any, table: pd.DataFrame) -> dict[str, str]:
    return tracking.register(
        fitted, table[FEATURES].head(), params={"seed": 1}, metrics=METRICS, data_hash="abc"
    )


def test_run_and_version_tell_where_the_model_comes_from(
    client: mlflow.MlflowClient,
    fitted: Any,
    table: pd.DataFrame,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("CODE_VERSION", "v1")
    made = register(fitted, table)
    run = client.get_run(client.get_model_version(MODEL_NAME, made["version"]).run_id)
    assert run.info.run_id == made["run_id"]
    assert run.data.params == {"seed": "1"}
    assert run.data.metrics == {"baseline_auc": 0.6, "candidate_auc": 0.7, "candidate_brier": 0.16}
    assert (run.data.tags["data_sha256"], run.data.tags["code_version"]) == ("abc", "v1")


def test_registered_model_predicts_as_the_trained_one(
    client: mlflow.MlflowClient,
    fitted: Any,
    table: pd.DataFrame,
) -> None:
    version = register(fitted, table)["version"]
    rows = table[FEATURES].head(50)
    expected = fitted.predict_proba(rows)
    assert np.array_equal(tracking.load(version).predict_proba(rows), expected)
    served = mlflow.pyfunc.load_model(f"models:/{MODEL_NAME}/{version}")
    assert np.array_equal(served.predict(rows), expected)
    assert served.metadata.signature.inputs.input_names() == FEATURES
    assert served.input_example is not None


def test_alias_moves(client: mlflow.MlflowClient, fitted: Any, table: pd.DataFrame) -> None:
    assert tracking.load("champion") is None
    assert tracking.load("1") is None
    for expected in ("1", "2"):
        version = register(fitted, table)["version"]
        assert tracking.load("challenger") is None
        tracking.award("champion", version)
        holder = client.get_model_version_by_alias(MODEL_NAME, "champion")
        # A server answers with text, a database read directly with a number.
        assert str(holder.version) == expected
    assert tracking.load("champion") is not None


def canary_runs(client: mlflow.MlflowClient) -> list:
    experiment = client.get_experiment_by_name(tracking.CANARY)
    return client.search_runs([experiment.experiment_id]) if experiment else []


def canary_files() -> list[Path]:
    return list(Path.cwd().rglob("token.txt"))


def test_canary_times_each_hop_and_leaves_nothing(client: mlflow.MlflowClient) -> None:
    hops = tracking.round_trip()
    assert list(hops) == ["run", "metric", "artifact", "model", "prune"]
    assert all(seconds >= 0 for seconds in hops.values())
    assert (canary_runs(client), client.search_registered_models(), canary_files()) == ([], [], [])


@pytest.mark.parametrize("hop", ["metric", "artifact", "model"])
def test_crashed_canary_is_pruned_by_a_later_one_after_an_hour(
    client: mlflow.MlflowClient, monkeypatch: pytest.MonkeyPatch, hop: str
) -> None:
    def crash(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(tracking, f"_{hop}_there_and_back", crash)
        with pytest.raises(KeyboardInterrupt):
            tracking.round_trip()
    tracking.round_trip()
    assert len(canary_runs(client)) == 1
    monkeypatch.setattr(tracking, "LEFTOVER_AFTER_SECONDS", -1)
    tracking.round_trip()
    assert (canary_runs(client), client.search_registered_models(), canary_files()) == ([], [], [])


def test_canary_survives_a_deleted_experiment(client: mlflow.MlflowClient) -> None:
    tracking.round_trip()
    client.delete_experiment(client.get_experiment_by_name(tracking.CANARY).experiment_id)
    tracking.round_trip()


def test_canary_leaves_other_models_alone(client: mlflow.MlflowClient) -> None:
    client.create_registered_model("stack-canary-of-mine")
    tracking.round_trip()
    assert [one.name for one in client.search_registered_models()] == ["stack-canary-of-mine"]


def test_canary_notices_another_answer(
    client: mlflow.MlflowClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mlflow.MlflowClient, "log_metric", lambda *_: None)
    with pytest.raises(RuntimeError, match="another metric: wrote"):
        tracking.round_trip()
