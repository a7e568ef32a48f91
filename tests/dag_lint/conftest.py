"""Provide Airflow's Python from the environment of the nox session `dag_lint`."""

import os
from pathlib import Path

import pytest

from checks.dag_lint.airflow_parse import Airflow

VERSION = os.environ.get("AIRFLOW_VERSION", "3.0.1")
PYTHON = Path(__file__).resolve().parents[2] / f".nox/airflow-{VERSION}/bin/python"


@pytest.fixture(scope="session")
def airflow():
    """Return the environment that `nox -s dag_lint` created."""
    assert PYTHON.exists(), "Run first: nox -s dag_lint"
    return Airflow(PYTHON, PYTHON.parent.parent / "dag_lint")
