"""Check that a task passes through queue and worker, and that MLflow stores what it logs.

`inv up` and `inv health --deep` run it. Its XCom contains the seconds of each step: queued
(trigger to the task's first line), client (import of MLflow), run, metric, artifact, model, prune.
"""

import time
from datetime import UTC, datetime, timedelta

from airflow.sdk import dag, get_current_context, task


@dag(
    schedule=None,
    start_date=datetime(2025, 1, 1),
    catchup=False,
    is_paused_upon_creation=False,
    # A second run waits for the first, which ends after the time-out.
    max_active_runs=1,
    dagrun_timeout=timedelta(minutes=5),
    default_args={"owner": "mlops", "retries": 0, "execution_timeout": timedelta(minutes=2)},
    tags=["canary", "stack"],
    doc_md=__doc__,
)
def canary() -> None:
    @task(multiple_outputs=False)
    def round_trip() -> dict[str, float]:
        queued = datetime.now(UTC) - get_current_context()["dag_run"].run_after
        start = time.perf_counter()
        from stack_runtime.airflow.mlflow_round_trip import round_trip as check_mlflow

        client = time.perf_counter() - start
        hops = {
            "queued": queued.total_seconds(),
            "client": client,
            **check_mlflow(),
        }
        return {hop: round(seconds, 3) for hop, seconds in hops.items()}

    round_trip()


canary()
