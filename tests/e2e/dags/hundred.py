"""A task that is mapped over a hundred numbers."""

from datetime import datetime

from airflow.sdk import dag, task


@dag(schedule=None, start_date=datetime(2025, 1, 1), is_paused_upon_creation=False, tags=["test"])
def hundred():
    @task
    def one(number):
        return number

    one.expand(number=list(range(100)))


hundred()
