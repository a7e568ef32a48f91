from datetime import datetime

from airflow.operators.subdag import SubDagOperator  # finds: import-error
from airflow.sdk import DAG

USED = SubDagOperator  # finds: AIR301

with DAG(
    "imports_a_removed_module",
    schedule=None,
    start_date=datetime(2025, 1, 1),
    default_args={"owner": "team", "retries": 1},
    tags=["bad"],
):
    pass
