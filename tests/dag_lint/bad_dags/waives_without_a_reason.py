import time  # line 6 finds: top-level-sleep, waiver-without-reason
from datetime import datetime

from airflow.sdk import DAG

time.sleep(0.01)  # dag_lint: ignore[top-level-sleep]

with DAG(
    "waives_without_a_reason",
    schedule=None,
    start_date=datetime(2025, 1, 1),
    default_args={"owner": "team", "retries": 1},
    tags=["bad"],
):
    pass
