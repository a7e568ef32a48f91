from datetime import datetime, timedelta

from airflow.sdk import DAG

DEFAULTS = {
    "owner": "team",
    "retries": 1,
    "start_date": datetime.now() - timedelta(days=1),  # finds: moving-start-date
}

with DAG(
    "starts_yesterday_by_default",
    schedule=None,
    default_args=DEFAULTS,
    tags=["bad"],
):
    pass
