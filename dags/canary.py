"""The canary: proof that a task gets through queue and worker, and its work into MLflow.

Trigger it with `inv up` or `inv health --deep`. Its XCom holds the seconds of each hop:
queued (trigger to the task's first line), client (import of MLflow), run, metric, artifact,
model, prune.
"""

import time
from datetime import UTC, datetime, timedelta

from airflow.sdk import dag, get_current_context, task


@dag(
    schedule=None,
    start_date=datetime(2025, 1, 1),
    catchup=False,
    is_paused_upon_creation=False,
    # The next proof waits for this one; a stuck one ends by its time-out.
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
        from ml import round_trip as mlflow

        client = time.perf_counter() - start
        waited = {"queued": queued.total_seconds(), "client": client}
        return {hop: round(s, 3) for hop, s in {**waited, **mlflow.round_trip()}.items()}

    round_trip()


canary()
