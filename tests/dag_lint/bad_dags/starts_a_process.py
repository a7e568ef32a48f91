import subprocess
from datetime import datetime

from airflow.sdk import DAG

NOW = subprocess.run(["true"], check=True)  # finds: top-level-process

with DAG(
    "starts_a_process",
    schedule=None,
    start_date=datetime(2025, 1, 1),
    default_args={"owner": "team", "retries": 1},
    tags=["bad"],
):
    pass
