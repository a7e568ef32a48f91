from datetime import datetime

from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.sdk import DAG

with DAG(
    "has_a_duplicate_task_id",
    schedule=None,
    start_date=datetime(2025, 1, 1),
    default_args={"owner": "team", "retries": 1},
    tags=["bad"],
):
    EmptyOperator(task_id="one")
    EmptyOperator(task_id="one")  # finds: import-error
