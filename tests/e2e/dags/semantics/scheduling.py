"""Tasks whose supervisor is killed on their first try, and two DAGs with runs of the same dates.

Tasks and callbacks record what they do in the file of the DAG `journal`.
"""

import os
import time
from datetime import datetime, timedelta
from pathlib import Path

from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.sdk import dag, get_current_context, task

OPTIONS = {"is_paused_upon_creation": False, "tags": ["test"]}


def record(context, event):
    with Path(os.environ.get("DATA_DIR", "/opt/airflow/data"), "journal").open("a") as file:
        print(context["run_id"], context["ti"].task_id, event, file=file, flush=True)


def on_retry(context):
    record(context, "retry callback")


def on_failure(context):
    record(context, "failure callback")


@dag(
    schedule=None,
    start_date=datetime(2025, 1, 1),
    default_args={"on_retry_callback": on_retry, "on_failure_callback": on_failure},
    **OPTIONS,
)
def killed():
    def wait():
        context = get_current_context()
        record(context, f"try {context['ti'].try_number}")
        if context["ti"].try_number == 1:
            time.sleep(900)

    @task(retries=1, retry_delay=timedelta(seconds=1))
    def retried():
        wait()

    @task(retries=0)
    def failed():
        wait()

    retried()
    failed()


def daily():
    EmptyOperator(task_id="nothing")


killed()
for name in ("backfilled", "bystander"):
    dag(
        name,
        schedule="@daily",
        start_date=datetime(2025, 1, 1),
        end_date=datetime(2025, 1, 2),
        catchup=True,
        **OPTIONS,
    )(daily)()
