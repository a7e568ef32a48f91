from datetime import datetime

from airflow.sdk import DAG

HOARD = bytearray(1 << 36)  # finds: import-error

with DAG(
    "takes_all_memory",
    schedule=None,
    start_date=datetime(2025, 1, 1),
    default_args={"owner": "team", "retries": 1},
    tags=["bad"],
):
    pass
