from datetime import datetime

from airflow.sdk import DAG

with DAG(  # finds: missing-tags
    "has_no_tags",
    schedule=None,
    start_date=datetime(2025, 1, 1),
    default_args={"owner": "team", "retries": 1},
):
    pass
