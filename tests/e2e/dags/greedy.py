"""A task that uses ever more memory until it is killed, and has no retries."""

from datetime import datetime

from airflow.sdk import dag, task


@dag(
    schedule=None,
    start_date=datetime(2025, 1, 1),
    is_paused_upon_creation=False,
    default_args={"retries": 0},
    tags=["test"],
)
def greedy():
    @task
    def take():
        taken = []
        while True:
            taken.append(b"x" * 2**26)

    take()


greedy()
