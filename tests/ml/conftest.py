"""Real modules, real data, real Airflow and MLflow; every state in a folder of its own."""

import os
import sys
import tempfile
from pathlib import Path

import pytest

DAGS = Path(__file__).parents[2] / "dags"
sys.path.insert(0, str(DAGS))

# Airflow reads its settings while it is imported, hence before any fixture.
os.environ.update(
    AIRFLOW_HOME=tempfile.mkdtemp(prefix="airflow-"),
    AIRFLOW__CORE__LOAD_EXAMPLES="false",
    AIRFLOW__CORE__DAGS_FOLDER=str(DAGS),
    AIRFLOW__CORE__UNIT_TEST_MODE="true",
    MLFLOW_DISABLE_TELEMETRY="true",
    # On slices this small, threads wait for each other longer than they work.
    OMP_NUM_THREADS="1",
)
for name in ("DATASET_URI", "DATA_DIR", "CODE_VERSION", "MLFLOW_TRACKING_URI"):
    os.environ.pop(name, None)

from ml import data, features  # noqa: E402  after sys.path

pd = data.pd


@pytest.fixture(scope="session")
def flights() -> pd.DataFrame:
    """Every 40th of the real flights, all twelve months: 8,420 rows."""
    return data.check(data.read().iloc[::40])


@pytest.fixture(scope="session")
def table(flights: pd.DataFrame) -> pd.DataFrame:
    return features.make(flights)
