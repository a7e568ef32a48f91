"""Real modules, real data, real Airflow and MLflow; every state in a folder of its own."""

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

from ml import MODELS, data, features, model  # noqa: E402  after sys.path

pd = data.pd
SLICE = 40
PARAMS = {"seed": 42, "holdout_months": 1}


@pytest.fixture(scope="session")
def everything():
    """All of the real flights, as they are read."""
    return data.read()


@pytest.fixture(scope="session")
def flights(everything):
    """Every 40th of the real flights, all twelve months: 8,420 rows, checked."""
    return data.check(everything.iloc[::SLICE])


@pytest.fixture(scope="session")
def table(flights):
    """What models are trained on: `flights` labelled, with their features."""
    labelled = data.labelled(flights)
    return labelled.assign(**features.make(labelled))


@pytest.fixture(scope="session")
def parts(table):
    """`table` before December, and December."""
    return model.split(table, 1)


@pytest.fixture(scope="session")
def fitted(parts):
    """Both kinds of model, trained on `parts`."""
    return {kind: model.train(kind, parts[0], seed=1) for kind in MODELS}


@pytest.fixture(scope="session")
def source(everything, tmp_path_factory):
    """The slice as a team would bring it: a Parquet file, other columns and all."""
    file = tmp_path_factory.mktemp("source") / "flights.parquet"
    everything.iloc[::SLICE].to_parquet(file)
    return file


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
    """What one training handed from step to step, and the database it left."""

    database: Path
    ingested: dict[str, Any]
    table: str
    trained: list[dict[str, Any]]
    verdict: dict[str, Any]


@pytest.fixture(scope="session")
def first(store, use, source, tmp_path_factory):
    """The first training of a new stack: the slice to March, both kinds, the better champion."""
    from ml import training

    folder = tmp_path_factory.mktemp("first")
    with pytest.MonkeyPatch.context() as patch:
        use(store, folder, patch)
        patch.setenv("DATASET_URI", str(source))
        ingested = training.ingest(folder, "2013-03")
        table = training.make_features(folder, ingested["flights"])
        trained = [training.train(one, table, ingested, PARAMS, "first") for one in MODELS]
        verdict = training.validate(table, trained, ingested["until"], PARAMS["holdout_months"])
    return Trained(folder / "mlflow.db", ingested, table, trained, verdict)


@pytest.fixture
def after_first(first, use, source, tmp_path, monkeypatch):
    """MLflow as `first` left it, in a copy; DATASET_URI is the slice."""
    monkeypatch.setenv("DATASET_URI", str(source))
    return use(first.database, tmp_path, monkeypatch)
