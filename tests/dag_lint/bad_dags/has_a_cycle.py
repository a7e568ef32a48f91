from datetime import datetime

from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.sdk import DAG

with DAG(  # line 1 finds: import-error
    "has_a_cycle",
    schedule=None,
    start_date=datetime(2025, 1, 1),
    default_args={"owner": "team", "retries": 1},
    tags=["bad"],
):
    first, second = EmptyOperator(task_id="first"), EmptyOperator(task_id="second")
    first >> second >> first
