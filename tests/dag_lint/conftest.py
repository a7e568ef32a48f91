"""Airflow's own Python, from the environment of the session `dag_lint`."""

from pathlib import Path

import pytest

from checks.dag_lint.airflow_parse import Airflow

PYTHON = Path(__file__).resolve().parents[2] / ".nox/airflow/bin/python"


@pytest.fixture(scope="session")
def airflow():
    """The environment that `nox -s dag_lint` made."""
    assert PYTHON.exists(), "first: nox -s dag_lint"
    return Airflow(PYTHON, PYTHON.parent.parent / "dag_lint")
