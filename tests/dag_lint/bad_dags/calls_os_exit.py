import os  # line 1 finds: ended
from datetime import datetime

from airflow.sdk import DAG

os._exit(0)

with DAG(
    "calls_os_exit",
    schedule=None,
    start_date=datetime(2025, 1, 1),
    default_args={"owner": "team", "retries": 1},
    tags=["bad"],
):
    pass
