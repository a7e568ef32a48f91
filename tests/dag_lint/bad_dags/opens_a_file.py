from datetime import datetime
from pathlib import Path

from airflow.sdk import DAG

TEXT = Path(__file__).read_text()  # finds: top-level-file

with DAG(
    "opens_a_file",
    schedule=None,
    start_date=datetime(2025, 1, 1),
    default_args={"owner": "team", "retries": 1},
    tags=["bad"],
):
    pass
