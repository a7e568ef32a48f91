"""Two DAGs with a task mapped over 100 and over 1,000 numbers."""

from datetime import datetime

from airflow.sdk import dag, task


def mapped(number):
    @dag(
        dag_id=f"mapped_{number}",
        schedule=None,
        start_date=datetime(2025, 1, 1),
        is_paused_upon_creation=False,
    )
    def one_task():
        @task
        def one(index):
            return index

        one.expand(index=list(range(number)))

    one_task()


mapped(100)
mapped(1000)
