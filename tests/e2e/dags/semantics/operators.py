"""Mapped operators with default arguments, and tasks of all kinds after a branch.

A task that must be skipped would fail.
"""

from datetime import datetime, timedelta

from airflow.providers.standard.operators.bash import BashOperator
from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.providers.standard.operators.python import PythonOperator
from airflow.sdk import dag, task, task_group

OPTIONS = {
    "schedule": None,
    "start_date": datetime(2025, 1, 1),
    "is_paused_upon_creation": False,
    "tags": ["test"],
}
NO_RETRIES = {"default_args": {"retries": 0}}
# Each operator knows only some of these.
DEFAULTS = {"poke_interval": 5, "bash_command": "true", "retry_delay": timedelta(seconds=1)}
FAILS = ["exit 1", "exit 1"]


@dag(default_args=DEFAULTS, **OPTIONS)
def mapped_operators():
    BashOperator.partial(task_id="bash").expand(bash_command=["exit 1", "true"])
    BashOperator.partial(task_id="once", retries=0).expand(bash_command=["exit 1"])
    BashOperator.partial(task_id="default").expand(env=[{"A": "b"}])
    PythonOperator.partial(task_id="python", python_callable=len).expand(op_args=[["four"]])


def tasks_of_all_kinds(first, chosen):
    """Define tasks after `first`, which skips those directly after it except `chosen`."""

    @task
    def commands():
        return FAILS

    @task_group
    def group(command):
        BashOperator(task_id="work", bash_command=command)

    listed = commands()
    mapped = BashOperator.partial(task_id="mapped").expand(bash_command=FAILS)
    late = BashOperator.partial(task_id="late", trigger_rule="all_done")
    late = late.expand(bash_command=["true"])
    first >> [
        BashOperator(task_id="plain", bash_command="exit 1", trigger_rule="all_done"),
        BashOperator.partial(task_id="mapped_late").expand(bash_command=listed),
        group.expand(command=FAILS),
        group.override(group_id="group_late").expand(command=listed),
    ]
    opened = EmptyOperator(task_id="open").as_setup()
    closed = EmptyOperator(task_id="close").as_teardown(setups=opened)
    opened >> first >> [mapped, *chosen]
    mapped >> late
    [late, *chosen] >> closed


@dag(**NO_RETRIES, **OPTIONS)
def branched():
    chosen = EmptyOperator(task_id="chosen")
    tasks_of_all_kinds(task.branch(task_id="first")(lambda: "chosen")(), [chosen])


@dag(**NO_RETRIES, **OPTIONS)
def stopped():
    tasks_of_all_kinds(task.short_circuit(task_id="first")(lambda: False)(), [])


mapped_operators()
branched()
stopped()
