"""A task that is put off twice before it ends, and tells each time that it looked."""

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
        looks = Path("/tmp", "".join(filter(str.isalnum, name)))
        with looks.open("a") as file:
            file.write("+")
        count = len(looks.read_text())
        print("this was look number", count)
        return count == 3

    work()


put_off()
