import time
from datetime import datetime

from airflow.sdk import DAG

time.sleep(0.01)  # finds: top-level-sleep

with DAG(
    "sleeps",
    schedule=None,
    start_date=datetime(2025, 1, 1),
    default_args={"owner": "team", "retries": 1},
    tags=["bad"],
):
    pass
