from datetime import datetime  # line 1 finds: slow-parse
from time import perf_counter

from airflow.sdk import DAG

UNTIL = perf_counter() + 2.2
while perf_counter() < UNTIL:
    pass

with DAG(
    "is_slow",
    schedule=None,
    start_date=datetime(2025, 1, 1),
    default_args={"owner": "team", "retries": 1},
    tags=["bad"],
):
    pass
