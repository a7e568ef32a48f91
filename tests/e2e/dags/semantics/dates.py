"""DAGs that show the dates of their runs; two of them have no scheduled runs now."""

from datetime import datetime

from airflow.providers.standard.operators.bash import BashOperator
from airflow.sdk import dag

OPTIONS = {"schedule": None, "is_paused_upon_creation": False, "tags": ["test"]}
DATES = {
    "dated": {"start_date": datetime(2025, 1, 1)},
    "dated_ended": {"start_date": datetime(2025, 1, 1), "end_date": datetime(2025, 1, 2)},
    "dated_future": {"start_date": datetime(2999, 1, 1)},
}
VALUES = (
    "ds",
    "data_interval_start",
    "data_interval_end",
    "logical_date",
    "dag_run.conf['seed']",
)


def show_dates():
    words = ",".join(f"{{{{ {value} }}}}" for value in VALUES)
    BashOperator(task_id="show", bash_command=f"echo '{words}'")


for name, dates in DATES.items():
    dag(name, **dates, **OPTIONS)(show_dates)()
