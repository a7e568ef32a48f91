"""Provide the real flights, and models trained on every 40th of them."""

import pytest

from tests.support import mlflow_store
from tests.support.airflow_home import DAGS  # noqa: F401  adds dags to the path

from ml import data  # isort: skip
from problems.flights import PROBLEM as FLIGHTS  # isort: skip
from tests.problems.flights.calls import split, train  # isort: skip

client, store, use = mlflow_store.client, mlflow_store.store, mlflow_store.use
SLICE = 40


@pytest.fixture(scope="session")
def all_flights():
    """Return all real flights as read from their source, unchecked."""
    return data.read(FLIGHTS)


@pytest.fixture(scope="session")
def flights(all_flights):
    """Return every 40th real flight of all twelve months, 8,420 rows, checked."""
    return data.check(FLIGHTS, all_flights.iloc[::SLICE])


@pytest.fixture(scope="session")
def table(flights):
    """Return `flights` with labels."""
    return data.labelled(FLIGHTS, flights)


@pytest.fixture(scope="session")
def parts(table):
    """Return the rows of `table` before December and the rows of December."""
    return split(table, 1)


@pytest.fixture(scope="session")
def models(parts):
    """Return a model of each kind, trained on the first of `parts`."""
    return {kind: train(kind, parts[0], seed=1) for kind in FLIGHTS.models}


@pytest.fixture(scope="session")
def source(all_flights, tmp_path_factory):
    """Return a Parquet file with every 40th real flight and all columns."""
    file = tmp_path_factory.mktemp("source") / "flights.parquet"
    all_flights.iloc[::SLICE].to_parquet(file)
    return file


@pytest.fixture(scope="session")
def first(store, use, source, tmp_path_factory):
    """Return the first training on a new stack, with the rows of `source` up to March."""
    folder = tmp_path_factory.mktemp("first")
    with pytest.MonkeyPatch.context() as patch:
        use(store, folder, patch)
        patch.setenv("DATASET_URI", str(source))
        return mlflow_store.train(FLIGHTS, folder, "2013-03")


@pytest.fixture
def after_first(first, use, source, tmp_path, monkeypatch):
    """Return a client of a copy of the MLflow that `first` wrote. DATASET_URI is `source`."""
    monkeypatch.setenv("DATASET_URI", str(source))
    return use(first.database, tmp_path, monkeypatch)
