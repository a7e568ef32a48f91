"""Airflow's side in its own environment, with a home of its own."""

from tests.support import airflow_home  # noqa: F401  before Airflow is imported
