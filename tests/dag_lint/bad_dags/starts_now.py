from datetime import datetime

from airflow.sdk import DAG

with DAG(
    "starts_now",
    schedule=None,
    start_date=datetime.now(),  # finds: moving-start-date
    default_args={"owner": "team", "retries": 1},
    tags=["bad"],
):
    pass
