"""A task that runs until a file `finish` exists next to this one."""

import time
from datetime import datetime
from pathlib import Path

from airflow.sdk import dag, task


@dag(schedule=None, start_date=datetime(2025, 1, 1), is_paused_upon_creation=False, tags=["test"])
def patient():
    @task
    def wait():
        while not Path(__file__).with_name("finish").exists():
            time.sleep(0.5)

    wait()


patient()
