from datetime import datetime

from airflow.sdk import DAG, Variable

NAME = Variable.get("name", default="nobody")  # finds: top-level-database

with DAG(
    "reads_a_variable",
    schedule=None,
    start_date=datetime(2025, 1, 1),
    default_args={"owner": "team", "retries": 1},
    tags=["bad"],
):
    pass
