from datetime import datetime

import requests
from airflow.sdk import DAG

ANSWER = requests.get("http://127.0.0.1:9/")  # finds: top-level-network, import-error

with DAG(
    "sends_a_request",
    schedule=None,
    start_date=datetime(2025, 1, 1),
    default_args={"owner": "team", "retries": 1},
    tags=["bad"],
):
    pass
