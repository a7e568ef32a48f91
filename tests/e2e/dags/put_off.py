"""A sensor that is rescheduled twice before it succeeds, and prints the number of each check."""

from datetime import datetime
from pathlib import Path

from airflow.sdk import dag, get_current_context, task


@dag(
    schedule=None,
    start_date=datetime(2025, 1, 1),
    is_paused_upon_creation=False,
    default_args={"retries": 0},
    tags=["test"],
)
def put_off():
    @task.sensor(mode="reschedule", poke_interval=2, timeout=300)
    def work():
        name = f"put-off-{get_current_context()['run_id']}"
        file = Path("/tmp", "".join(filter(str.isalnum, name)))
        with file.open("a") as checks:
            checks.write("+")
        count = len(file.read_text())
        print("check number", count)
        return count == 3

    work()


put_off()
