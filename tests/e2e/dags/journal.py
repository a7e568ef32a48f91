"""A task that runs for some seconds and records the start and end of each try in a file."""

import os
import time
from datetime import datetime
from pathlib import Path

from airflow.sdk import dag, get_current_context, task


@dag(
    schedule=None,
    start_date=datetime(2025, 1, 1),
    is_paused_upon_creation=False,
    params={"seconds": 20},
    tags=["test"],
)
def journal():
    @task
    def work():
        context = get_current_context()
        name = f"{context['run_id']} {context['ti'].try_number}"
        with Path(os.environ.get("DATA_DIR", "/opt/airflow/data"), "journal").open("a") as file:
            print(name, "begun", file=file, flush=True)
            time.sleep(context["params"]["seconds"])
            print(name, "ended", file=file, flush=True)

    work()


journal()
