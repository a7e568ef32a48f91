import itertools  # line 1 finds: time-limit
from datetime import datetime

from airflow.sdk import DAG

for _ in itertools.count():
    pass

with DAG(
    "never_ends",
    schedule=None,
    start_date=datetime(2025, 1, 1),
    default_args={"owner": "team", "retries": 1},
    tags=["bad"],
):
    pass
