"""Tasks that need several slots, a backlog of long tasks, and sensors that are rescheduled."""

import os
import time
from datetime import datetime
from pathlib import Path

from airflow.providers.standard.operators.trigger_dagrun import TriggerDagRunOperator
from airflow.sdk import dag, get_current_context, task

OPTIONS = {
    "schedule": None,
    "start_date": datetime(2025, 1, 1),
    "is_paused_upon_creation": False,
    "tags": ["test"],
    "default_args": {"retries": 0},
}
SENSORS, CHECKS = 16, 5


@dag(**OPTIONS)
def quick():
    @task(priority_weight=1000)
    def work(): ...

    work()


@dag(**OPTIONS)
def waits():
    TriggerDagRunOperator(
        task_id="work", trigger_dag_id="quick", wait_for_completion=True, poke_interval=2
    )


@dag(max_active_tasks=200, **OPTIONS)
def backlog():
    @task
    def work(number):
        time.sleep(45)

    work.expand(number=list(range(150)))


@dag(**OPTIONS)
def sensors():
    @task.sensor(mode="reschedule", poke_interval=1, timeout=600)
    def check():
        context = get_current_context()
        name = "".join(filter(str.isalnum, f"{context['run_id']}{context['ti'].task_id}"))
        file = Path(os.environ.get("DATA_DIR", "/opt/airflow/data"), f"checks-{name}")
        with file.open("a") as checks:
            checks.write("+")
        return len(file.read_text()) == CHECKS

    for number in range(SENSORS):
        check.override(task_id=f"check{number}")()


quick()
waits()
backlog()
sensors()
