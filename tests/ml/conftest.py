"""Generated problems of each kind, with real Airflow and MLflow in folders of their own."""

import importlib
import os
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.support.airflow_home import DAGS

sys.path.insert(0, str(DAGS))
os.environ.update(
    MLFLOW_DISABLE_TELEMETRY="true",
    # On slices this small, threads wait for each other longer than they work.
    OMP_NUM_THREADS="1",
)
for name in ("DATASET_URI", "DATA_DIR", "CODE_VERSION", "MLFLOW_TRACKING_URI", "MLFLOW_PUBLIC_URL"):
    os.environ.pop(name, None)

SAMPLES = {
    name: importlib.import_module(f"tests.ml.samples.{name}").PROBLEM
    for name in ("churn", "demand", "plants")
}
CHURN = SAMPLES["churn"]
# The period up to which the first training uses rows, and the next one.
PERIODS = {
    "churn": ("2024-03", "2024-07"),
    "demand": ("2024-03-25", "2024-04-01"),
    "plants": ("2024-1.csv", "2024-2.csv"),
}


@pytest.fixture(scope="session", params=sorted(SAMPLES))
def name(request):
    """The name of each sample, one after another."""
    return request.param


@pytest.fixture(scope="session")
def problem(name):
    """Each generated problem."""
    return SAMPLES[name]


@pytest.fixture(scope="session")
def periods(name):
    """The last period of the first training, and a later one."""
    return PERIODS[name]


@pytest.fixture(scope="session")
def params(problem):
    """Parameters of a training."""
    return {"seed": 42, "holdout": problem.holdout}


@pytest.fixture(scope="session")
def use():
    """Let MLflow work in a folder: on a copy of an SQLite file, with artifacts beside it."""
    import mlflow

    def use(database, folder, patch):
        shutil.copyfile(database, folder / "mlflow.db")
        patch.chdir(folder)
        patch.setenv("MLFLOW_PUBLIC_URL", "http://mlflow.here")
        mlflow.set_tracking_uri(f"sqlite:///{folder}/mlflow.db")
        mlflow.set_registry_uri(f"sqlite:///{folder}/mlflow.db")
        return mlflow.MlflowClient()

    return use


@pytest.fixture(scope="session")
def store(tmp_path_factory):
    """An empty database, its schema made once and copied for each test."""
    import mlflow

    file = tmp_path_factory.mktemp("store") / "empty.db"
    mlflow.MlflowClient(f"sqlite:///{file}").search_experiments()
    return file


@pytest.fixture
def client(store, use, tmp_path, monkeypatch):
    """MLflow on a new SQLite file and folder, no server."""
    return use(store, tmp_path, monkeypatch)


@dataclass(frozen=True)
class Trained:
    """What one training passed from step to step, and the database it left."""

    database: Path
    ingested: dict[str, Any]
    tables: dict[str, str]
    trained: list[dict[str, Any]]
    verdict: dict[str, Any]


@pytest.fixture(scope="session")
def first(problem, periods, params, store, use, tmp_path_factory):
    """The first training of a problem on a new stack."""
    from ml import training

    folder = tmp_path_factory.mktemp("first")
    with pytest.MonkeyPatch.context() as patch:
        use(store, folder, patch)
        ingested = training.ingest(problem, folder, periods[0])
        tables = training.make_features(problem, folder, ingested["rows"])
        trained = [
            training.train(problem, one, tables, ingested, params, "first")
            for one in problem.models
        ]
        until, holdout = ingested["until"], params["holdout"]
        verdict = training.validate(problem, tables, trained, until, holdout)
    return Trained(folder / "mlflow.db", ingested, tables, trained, verdict)


@pytest.fixture
def after_first(first, use, tmp_path, monkeypatch):
    """MLflow as `first` left it, in a copy."""
    monkeypatch.setenv("DATA_DIR", str(tmp_path / "data"))
    return use(first.database, tmp_path, monkeypatch)
