"""A DAG whose callback reports what it knows, and one with a callback every two seconds.

The callback writes to the file of the DAG `journal`.
"""

import os
from datetime import datetime, timedelta
from pathlib import Path

from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.sdk import dag, get_current_context, task

OPTIONS = {"start_date": datetime(2025, 1, 1), "tags": ["test"]}


def report(context):
    ti = context["ti"]
    known = (
        context["reason"],
        context["dag"].dag_id,
        context["dag_run"].state,
        ti.task_id,
        ti.xcom_pull(task_ids="broken", key="found"),
        ti.log_url,
    )
    with Path(os.environ.get("DATA_DIR", "/opt/airflow/data"), "journal").open("a") as file:
        print(context["run_id"], *known, file=file, flush=True)


@dag(schedule=None, is_paused_upon_creation=False, on_failure_callback=report, **OPTIONS)
def notified():
    @task
    def fine():
        pass

    @task(retries=0)
    def broken():
        get_current_context()["ti"].xcom_push("found", "mould")
        raise RuntimeError("broken")

    fine() >> broken()


@dag(
    schedule=timedelta(seconds=2),
    catchup=False,
    is_paused_upon_creation=True,
    on_success_callback=lambda context: None,
    **OPTIONS,
)
def frequent():
    EmptyOperator(task_id="nothing")


notified()
frequent()
