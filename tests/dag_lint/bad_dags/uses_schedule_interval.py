from datetime import datetime

from airflow.sdk import DAG

with DAG(  # finds: import-error
    "uses_schedule_interval",
    start_date=datetime(2025, 1, 1),
    default_args={"owner": "team", "retries": 1},
    tags=["bad"],
    schedule_interval="@daily",  # finds: AIR301
):
    pass
