from datetime import datetime

from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.sdk import DAG

with DAG(  # finds: missing-owner
    "has_no_owner",
    schedule=None,
    start_date=datetime(2025, 1, 1),
    default_args={"retries": 1},
    tags=["bad"],
):
    EmptyOperator(task_id="one")
