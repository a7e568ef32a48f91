import os
from datetime import datetime

from airflow.sdk import DAG


def run():
    os.system("true")  # finds: top-level-process


run()

with DAG(
    "starts_a_process_in_a_function",
    schedule=None,
    start_date=datetime(2025, 1, 1),
    default_args={"owner": "team", "retries": 1},
    tags=["bad"],
):
    pass
