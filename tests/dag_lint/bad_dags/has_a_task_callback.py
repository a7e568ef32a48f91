from datetime import datetime

from airflow.sdk import dag, task


@dag(
    schedule=None,
    start_date=datetime(2025, 1, 1),
    default_args={"owner": "team", "retries": 1},
    tags=["bad"],
    on_failure_callback=print,
)
def has_a_task_callback():
    @task(on_failure_callback=print)  # finds: task-callback
    def one():
        return 1

    one()


has_a_task_callback()
