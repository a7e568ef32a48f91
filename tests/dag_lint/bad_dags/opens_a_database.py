import sqlite3
from datetime import datetime

from airflow.sdk import DAG

ROWS = sqlite3.connect(":memory:").execute("select 1")  # finds: top-level-database

with DAG(
    "opens_a_database",
    schedule=None,
    start_date=datetime(2025, 1, 1),
    default_args={"owner": "team", "retries": 1},
    tags=["bad"],
):
    pass
