"""Ten tasks in a chain."""

from datetime import datetime

from airflow.sdk import chain, dag, task


@dag(schedule=None, start_date=datetime(2025, 1, 1), is_paused_upon_creation=False)
def chain_of_10():
    @task
    def one():
        return None

    chain(*(one.override(task_id=f"task_{number}")() for number in range(10)))


chain_of_10()
