from datetime import datetime

import numpy as np  # finds: heavy-import
from airflow.sdk import DAG

EMPTY = np.empty(0)

with DAG(
    "imports_a_heavy_library",
    schedule=None,
    start_date=datetime(2025, 1, 1),
    default_args={"owner": "team", "retries": 1},
    tags=["bad"],
):
    pass
