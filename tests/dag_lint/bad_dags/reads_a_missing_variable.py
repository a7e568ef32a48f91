from datetime import datetime

from airflow.sdk import DAG, Variable

NAME = Variable.get("name")  # finds: top-level-database, import-error

with DAG(
    "reads_a_missing_variable",
    schedule=None,
    start_date=datetime(2025, 1, 1),
    default_args={"owner": "team", "retries": 1},
    tags=["bad"],
):
    pass
