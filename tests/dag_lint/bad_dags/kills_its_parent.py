import os
import signal
from datetime import datetime

from airflow.sdk import DAG

os.kill(os.getppid(), signal.SIGKILL)  # finds: kill

with DAG(
    "kills_its_parent",
    schedule=None,
    start_date=datetime(2025, 1, 1),
    default_args={"owner": "team", "retries": 1},
    tags=["bad"],
):
    pass
