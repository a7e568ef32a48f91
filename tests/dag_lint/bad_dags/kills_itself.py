import os  # line 1 finds: ended
import signal
from datetime import datetime

from airflow.sdk import DAG

os.kill(os.getpid(), signal.SIGKILL)

with DAG(
    "kills_itself",
    schedule=None,
    start_date=datetime(2025, 1, 1),
    default_args={"owner": "team", "retries": 1},
    tags=["bad"],
):
    pass
