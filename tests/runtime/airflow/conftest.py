"""Run these tests in Airflow's environment with a separate AIRFLOW_HOME."""

from tests.support import airflow_home  # noqa: F401  before Airflow is imported
