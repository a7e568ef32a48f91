"""One task in a DAG that allows 100 parallel runs."""

from datetime import datetime

from airflow.sdk import dag, task


@dag(
    schedule=None,
    start_date=datetime(2025, 1, 1),
    is_paused_upon_creation=False,
    max_active_runs=100,
)
def single():
    @task
    def one():
        return None

    one()


single()
