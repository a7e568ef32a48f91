from datetime import datetime

from airflow.sdk import DAG
from lib import sockets

sockets.reach()

with DAG(
    "opens_a_socket_in_a_helper",
    schedule=None,
    start_date=datetime(2025, 1, 1),
    default_args={"owner": "team", "retries": 1},
    tags=["bad"],
):
    pass
