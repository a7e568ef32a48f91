from datetime import datetime

from airflow.sdk import DAG

for number in (1, 2):
    globals()[f"looped_{number}"] = DAG(  # finds: missing-tags
        f"looped_{number}",
        schedule=None,
        start_date=datetime(2025, 1, 1),
        default_args={"owner": "team", "retries": 1},
    )
