from datetime import datetime

from airflow.providers.standard.operators.bash import BashOperator
from airflow.sdk import DAG

with DAG(
    "starts_a_background_program",
    schedule=None,
    start_date=datetime(2025, 1, 1),
    default_args={"owner": "team", "retries": 1},
    tags=["bad"],
):
    BashOperator(task_id="one", bash_command="nohup server &")  # finds: background-program
    BashOperator(task_id="two", bash_command="one & two & wait")
