import time
from datetime import datetime

from airflow.sdk import DAG

time.sleep(0.01)  # dag_lint: ignore[top-level-sleep] the clock of this host is coarse

with DAG(
    "waives_with_a_reason",
    schedule=None,
    start_date=datetime(2025, 1, 1),
    default_args={"owner": "team", "retries": 1},
    tags=["bad"],
):
    pass
