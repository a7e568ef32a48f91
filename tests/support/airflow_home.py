"""Set the environment of Airflow's services. Import this before Airflow, which reads it."""

import os
import sys
import tempfile

from tests.support.repository import ROOT

DAGS = ROOT / "dags"
os.environ.update(
    AIRFLOW_HOME=tempfile.mkdtemp(prefix="airflow-"),
    AIRFLOW__CORE__LOAD_EXAMPLES="false",
    AIRFLOW__CORE__DAGS_FOLDER=str(DAGS),
    AIRFLOW__CORE__UNIT_TEST_MODE="true",
)
sys.path[:0] = [str(DAGS), str(ROOT / "orchestration/config")]
