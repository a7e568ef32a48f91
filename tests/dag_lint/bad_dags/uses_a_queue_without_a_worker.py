from datetime import datetime

from airflow.providers.standard.operators.bash import BashOperator
from airflow.sdk import DAG, task

with DAG(
    "uses_a_queue_without_a_worker",
    schedule=None,
    start_date=datetime(2025, 1, 1),
    default_args={"owner": "team", "retries": 1},
    tags=["bad"],
):

    @task(queue="gpu")  # finds: unserved-queue
    def one():
        return 1

    one()
    BashOperator(task_id="two", bash_command="true", queue="default")
    BashOperator(
        task_id="three",
        bash_command="true",
        queue="big",  # dag_lint: ignore[unserved-queue] served by a worker on another machine
    )
