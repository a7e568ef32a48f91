"""Fixtures of MLflow on SQLite without a server. A conftest imports the names it needs."""

import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

SETTINGS = ["DATASET_URI", "DATA_DIR", "CODE_VERSION", "PREDICTIONS_URI"]
SETTINGS += ["MLFLOW_TRACKING_URI", "MLFLOW_PUBLIC_URL"]
# On tables this small, threads wait for each other longer than they work.
os.environ.update(MLFLOW_DISABLE_TELEMETRY="true", OMP_NUM_THREADS="1")
for name in SETTINGS:
    os.environ.pop(name, None)


@pytest.fixture(scope="session")
def use() -> Any:
    """Return a function that lets MLflow work in a folder, on a copy of an SQLite file."""
    import mlflow

    def use(database: Path, folder: Path, patch: pytest.MonkeyPatch) -> Any:
        shutil.copyfile(database, folder / "mlflow.db")
        patch.chdir(folder)
        patch.setenv("MLFLOW_PUBLIC_URL", "http://mlflow.here")
        mlflow.set_tracking_uri(f"sqlite:///{folder}/mlflow.db")
        mlflow.set_registry_uri(f"sqlite:///{folder}/mlflow.db")
        return mlflow.MlflowClient()

    return use


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return an empty database. Its schema is created once and copied for each test."""
    import mlflow

    file = tmp_path_factory.mktemp("store") / "empty.db"
    mlflow.MlflowClient(f"sqlite:///{file}").search_experiments()
    return file


@pytest.fixture
def client(store: Path, use: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return a client of a new MLflow."""
    return use(store, tmp_path, monkeypatch)


@dataclass(frozen=True)
class Trained:
    """What the steps of one training returned, and the database they wrote."""

    database: Path
    ingested: dict[str, Any]
    tables: dict[str, str]
    trained: list[dict[str, Any]]
    verdict: dict[str, Any]


def train(problem: Any, folder: Path, until: str) -> Trained:
    """Return the first training of a problem with the rows up to a period, in the MLflow in use."""
    from ml import training

    params = {"seed": 42, "holdout": problem.holdout}
    ingested = training.ingest(problem, folder, until)
    tables = training.make_features(problem, folder, ingested["rows"])
    trained = [
        training.train(problem, kind, tables, ingested, params, "first") for kind in problem.models
    ]
    until, holdout = ingested["until"], params["holdout"]
    verdict = training.validate(problem, tables, trained, until, holdout)
    return Trained(folder / "mlflow.db", ingested, tables, trained, verdict)
