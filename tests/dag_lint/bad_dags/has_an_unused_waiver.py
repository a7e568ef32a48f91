from datetime import datetime  # line 5 finds: unused-waiver

from airflow.sdk import DAG

# dag_lint: ignore[top-level-file] read once, at the start
NAME = "x"

with DAG(
    "has_an_unused_waiver",
    schedule=None,
    start_date=datetime(2025, 1, 1),
    default_args={"owner": "team", "retries": 1},
    tags=["bad"],
):
    pass
