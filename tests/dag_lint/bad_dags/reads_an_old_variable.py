from datetime import datetime

from airflow.models import Variable
from airflow.sdk import DAG

NAME = Variable.get("name", default_var="")  # finds: top-level-database, AIR311

with DAG(
    "reads_an_old_variable",
    schedule=None,
    start_date=datetime(2025, 1, 1),
    default_args={"owner": "team", "retries": 1},
    tags=["bad"],
):
    pass
