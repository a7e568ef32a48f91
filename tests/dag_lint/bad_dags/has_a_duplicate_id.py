from datetime import datetime

from airflow.sdk import DAG

with DAG(
    "the_same",
    schedule=None,
    start_date=datetime(2025, 1, 1),
    default_args={"owner": "team", "retries": 1},
    tags=["bad"],
):
    pass
