"""Provide Airflow's Python from the environment of the nox session `dag_lint`."""

from pathlib import Path

import pytest

from checks.dag_lint.airflow_parse import Airflow

PYTHON = Path(__file__).resolve().parents[2] / ".nox/airflow/bin/python"


@pytest.fixture(scope="session")
def airflow():
    """Return the environment that `nox -s dag_lint` created."""
    assert PYTHON.exists(), "Run first: nox -s dag_lint"
    return Airflow(PYTHON, PYTHON.parent.parent / "dag_lint")
