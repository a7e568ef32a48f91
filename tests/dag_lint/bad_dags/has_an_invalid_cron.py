from datetime import datetime  # line 1 finds: import-error

from airflow.sdk import DAG

with DAG(
    "has_an_invalid_cron",
    schedule="every monday",
    start_date=datetime(2025, 1, 1),
    default_args={"owner": "team", "retries": 1},
    tags=["bad"],
):
    pass
