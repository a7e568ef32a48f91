from datetime import datetime

import no_such_package  # finds: import-error
from airflow.sdk import DAG

USED = no_such_package

with DAG(
    "imports_a_missing_package",
    schedule=None,
    start_date=datetime(2025, 1, 1),
    default_args={"owner": "team", "retries": 1},
    tags=["bad"],
):
    pass
