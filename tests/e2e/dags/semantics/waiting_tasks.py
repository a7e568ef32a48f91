"""Tasks that wait for a slot, an urgent one, and tasks of a queue that nobody serves."""

import os
import time
from datetime import datetime
from pathlib import Path

from airflow.sdk import dag, get_current_context, task

OPTIONS = {
    "schedule": None,
    "start_date": datetime(2025, 1, 1),
    "is_paused_upon_creation": False,
    "max_active_tasks": 200,
    "tags": ["test"],
}
NO_RETRIES = {"default_args": {"retries": 0}}


def record(event):
    """Append a line to the journal, which starts with the ID of the run."""
    context = get_current_context()
    ti = context["ti"]
    with Path(os.environ.get("DATA_DIR", "/opt/airflow/data"), "journal").open("a") as file:
        print(context["run_id"], ti.map_index, ti.try_number, event, file=file, flush=True)


@dag(params={"number": 8, "seconds": 5}, **OPTIONS)
def many():
    @task
    def numbers():
        return list(range(get_current_context()["params"]["number"]))

    @task
    def work(number):
        record("begun")
        time.sleep(get_current_context()["params"]["seconds"])
        record("ended")

    work.expand(number=numbers())


@dag(**NO_RETRIES, **OPTIONS)
def eight():
    @task
    def work(number):
        record("begun")

    work.expand(number=list(range(8)))


@dag(**NO_RETRIES, **OPTIONS)
def urgent():
    @task(priority_weight=1000)
    def work():
        record("begun")

    work()


@dag(**NO_RETRIES, **OPTIONS)
def unserved():
    @task(queue="nobody")
    def work(number): ...

    work.expand(number=list(range(40)))


many()
eight()
urgent()
unserved()
