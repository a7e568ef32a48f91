from datetime import datetime

from airflow.sdk import DAG, Variable

Variable.set("of_its_own", "somebody")  # finds: top-level-database

with DAG(
    "sets_a_variable",
    schedule=None,
    start_date=datetime(2025, 1, 1),
    default_args={"owner": "team", "retries": 1},
    tags=["bad"],
):
    pass
