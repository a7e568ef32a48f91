from datetime import datetime

from airflow.sdk import DAG, Connection

URI = Connection.get("nowhere")  # finds: top-level-database, import-error

with DAG(
    "gets_a_connection",
    schedule=None,
    start_date=datetime(2025, 1, 1),
    default_args={"owner": "team", "retries": 1},
    tags=["bad"],
):
    pass
