import os
from datetime import datetime

from airflow.sdk import DAG


def look():
    os.system("true")  # finds: top-level-process


look()

with DAG(
    "starts_a_process_by_a_called_function",
    schedule=None,
    start_date=datetime(2025, 1, 1),
    default_args={"owner": "team", "retries": 1},
    tags=["bad"],
):
    pass
