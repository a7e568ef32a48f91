"""Tasks that use all slots, wait for a full pool, or wait in a queue that nobody serves."""

import time
from datetime import datetime

from airflow.sdk import dag, get_current_context, task

OPTIONS = {
    "schedule": None,
    "start_date": datetime(2025, 1, 1),
    "is_paused_upon_creation": False,
    "max_active_tasks": 64,
    "default_args": {"retries": 0},
    "tags": ["test"],
}


@dag(params={"number": 1, "seconds": 1}, **OPTIONS)
def busy():
    @task
    def numbers():
        return list(range(get_current_context()["params"]["number"]))

    @task
    def work(number):
        time.sleep(get_current_context()["params"]["seconds"])

    work.expand(number=numbers())


@dag(**OPTIONS)
def narrow():
    @task(pool="closed")
    def work(): ...

    work()


@dag(**OPTIONS)
def elsewhere():
    @task(queue="nobody")
    def work(): ...

    work()


busy()
narrow()
elsewhere()
