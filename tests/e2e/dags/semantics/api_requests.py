"""Tasks whose requests to the API server Airflow 3.0.1 refuses or changes."""

import math
from datetime import datetime

from airflow.providers.standard.operators.bash import BashOperator
from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.providers.standard.operators.latest_only import LatestOnlyOperator
from airflow.sdk import Connection, Variable, dag, get_current_context, task, task_group

OPTIONS = {
    "start_date": datetime(2025, 1, 1),
    "catchup": False,
    "is_paused_upon_creation": False,
    "tags": ["test"],
    "default_args": {"retries": 0},
}


@dag(schedule=None, **OPTIONS)
def mapped_groups():
    """Collect the results of a task group that is mapped over a result."""

    @task
    def months():
        return ["2013-01", "2013-10"]

    @task
    def fit(month):
        return int(month[-2:])

    @task_group
    def inner(month):
        return fit(month)

    @task_group
    def flat(month):
        return fit(month)

    @task_group
    def deep(month):
        return inner(month)

    @task
    def best(scores, other_scores):
        return [max(scores), max(other_scores)]

    listed = months()
    best(flat.expand(month=listed), deep.expand(month=listed))


@dag(schedule=None, **OPTIONS)
def keys_and_numbers():
    """Exchange XComs with unusual keys and values, and a variable with a slash in its key."""

    @task(multiple_outputs=True)
    def fit():
        get_current_context()["ti"].xcom_push("nothing", None)
        return {"val/auc": 0.9, "loss?": math.nan, "100%": [-math.inf]}

    @task
    def check():
        ti = get_current_context()["ti"]
        values = [ti.xcom_pull("fit", key=key) for key in ("val/auc", "100%", "nothing")]
        assert values == [0.9, [-math.inf], None], values
        assert math.isnan(ti.xcom_pull("fit", key="loss?"))
        assert math.isnan(ti.xcom_pull("fit")["loss?"])

    @task
    def variable():
        Variable.set("team/region", "eu-west")
        return Variable.get("team/region")

    fit() >> check()
    variable()


@dag(schedule="* * * * *", **OPTIONS)
def newest():
    """Run only the newest of frequent runs."""
    LatestOnlyOperator(task_id="newest_only") >> EmptyOperator(task_id="work")


@dag(schedule=None, **OPTIONS)
def skips():
    """Skip plain and mapped tasks."""

    @task.short_circuit
    def stop():
        return False

    mapped = BashOperator.partial(task_id="mapped").expand(bash_command=["false", "false"])
    stop() >> [EmptyOperator(task_id="plain"), mapped]


@dag(schedule=None, **OPTIONS)
def refused():
    """Return more values than a task can be mapped over."""

    @task
    def numbers():
        return list(range(2000))

    @task
    def work(number): ...

    work.expand(number=numbers())


@dag(schedule=None, **OPTIONS)
def connection():
    """Return the secrets of a connection."""

    @task
    def read():
        stored = Connection.get("edited")
        return [stored.password, stored.extra_dejson]

    read()


mapped_groups()
keys_and_numbers()
newest()
skips()
refused()
connection()
