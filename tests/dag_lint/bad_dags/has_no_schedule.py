from datetime import datetime

from airflow.sdk import DAG

with DAG(  # finds: AIR002
    "has_no_schedule",
    start_date=datetime(2025, 1, 1),
    default_args={"owner": "team", "retries": 1},
    tags=["bad"],
):
    pass
