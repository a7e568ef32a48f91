"""Tasks that start programs, whose arguments contain a name that the test searches for."""

import os
import subprocess
from datetime import datetime, timedelta
from pathlib import Path

from airflow.providers.standard.operators.bash import BashOperator
from airflow.sdk import dag, get_current_context, task

OPTIONS = {
    "schedule": None,
    "start_date": datetime(2025, 1, 1),
    "is_paused_upon_creation": False,
    "tags": ["test"],
    "default_args": {"retries": 0},
}
# BashOperator starts it in a session of its own.
PROGRAM = "while sleep 0.2; do : program-of-a-task; done"
# A daemon is no child of the task any more when it runs.
DAEMON = "setsid bash -c 'while sleep 0.2; do : daemon-of-a-task; done' & exit 0"


class Program(BashOperator):
    """Runs until it is killed, which it records next to the lines of the DAG `journal`."""

    def on_kill(self):
        context = get_current_context()
        name = f"{context['run_id']} {context['ti'].try_number}"
        with Path(os.environ.get("DATA_DIR", "/opt/airflow/data"), "journal").open("a") as file:
            print(name, "killed", file=file)
        super().on_kill()


@dag(**OPTIONS)
def program():
    Program(task_id="work", bash_command=PROGRAM)


@dag(**OPTIONS)
def program_with_timeout():
    Program(
        task_id="work",
        bash_command=PROGRAM,
        execution_timeout=timedelta(seconds=3),
        retries=1,
        retry_delay=timedelta(seconds=1),
    )


@dag(**OPTIONS)
def daemons():
    @task
    def work():
        subprocess.run(["bash", "-c", DAEMON], check=True)
        subprocess.Popen(["bash", "-c", PROGRAM])

    work()


program()
program_with_timeout()
daemons()
