import os  # line 1 finds: ended
from datetime import datetime

from airflow.sdk import DAG

os._exit(0)

with DAG(
    "leaves_without_a_word",
    schedule=None,
    start_date=datetime(2025, 1, 1),
    default_args={"owner": "team", "retries": 1},
    tags=["bad"],
):
    pass
