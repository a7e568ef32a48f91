"""Predict new rows with the champion.

The task `predictions` reads the rows at `source` (blank: the newest period or batch of the
problem's own source), applies the champion and writes a Parquet file with the inputs, the
prediction, and the version and run of the model. The file is below `PREDICTIONS_URI`, or else in
the folder `predictions` of `DATA_DIR`. Monitoring measures performance on these predictions when
the labels are known.
"""

from datetime import datetime, timedelta
from typing import Any

import runs
from airflow.sdk import Param, dag, get_current_context, task
from ml.problem import Problem


def create(problem: Problem) -> None:
    """Create the scoring DAG of a problem."""

    @dag(
        dag_id=problem.dag("scoring"),
        schedule=None,
        start_date=datetime(2013, 1, 1),
        catchup=False,
        is_paused_upon_creation=False,
        max_active_runs=1,
        dagrun_timeout=timedelta(hours=2),
        default_args=runs.DEFAULTS,
        params={
            "source": Param(
                None,
                type=["null", "string"],
                description=f"Path or s3:// address of new {problem.rows}; blank for the newest",
            )
        },
        tags=["scoring", f"problem:{problem.name}"],
        doc_md=runs.doc(problem, __doc__),
    )
    def pipeline() -> None:
        @task(multiple_outputs=False)
        def predictions() -> dict[str, Any]:
            from ml import scoring

            context = get_current_context()
            with runs.no_retry_when_refused():
                source = context["params"]["source"] or ""
                scored = scoring.score(problem, source, context["run_id"])
            runs.report(scoring.report(problem, scored))
            return scored

        predictions() >> runs.alert_of_failure()

    pipeline()
