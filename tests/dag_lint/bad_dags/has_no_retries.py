from datetime import datetime

from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.sdk import DAG

with DAG(  # finds: missing-retries
    "has_no_retries",
    schedule=None,
    start_date=datetime(2025, 1, 1),
    default_args={"owner": "team"},
    tags=["bad"],
):
    EmptyOperator(task_id="one")
