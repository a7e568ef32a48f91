"""Set Airflow's environment for tests. Import this before Airflow, which reads it on import."""

import os
import tempfile

from tests.support.repository import ROOT

DAGS = ROOT / "dags"
os.environ.update(
    AIRFLOW_HOME=tempfile.mkdtemp(prefix="airflow-"),
    AIRFLOW__CORE__LOAD_EXAMPLES="false",
    AIRFLOW__CORE__DAGS_FOLDER=str(DAGS),
    AIRFLOW__CORE__UNIT_TEST_MODE="true",
)
