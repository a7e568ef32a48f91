"""Predict new rows with the champion.

The task `predictions` reads the rows at `source` (blank: the newest period or batch of the
problem's own source), applies the champion and writes a Parquet file with the inputs, the
prediction, and the version and run of the model. The file is below `PREDICTIONS_URI`, or else in
the folder `predictions` of `DATA_DIR`. Monitoring measures performance on these predictions when
the labels are known.
"""

from typing import Any

import runs
from airflow.sdk import Param, get_current_context
from ml.problem import Problem


def create(problem: Problem) -> None:
    """Create the scoring DAG of a problem."""
    text = f"Path or s3:// address of new {problem.rows}; blank for the newest"
    params = {"source": Param(None, type=["null", "string"], description=text)}

    @runs.pipeline(problem, "scoring", __doc__, schedule=None, params=params)
    def pipeline() -> None:
        @runs.step
        def predictions() -> dict[str, Any]:
            from ml import scoring

            context = get_current_context()
            source = context["params"]["source"] or ""
            scored = scoring.score(problem, source, context["run_id"])
            runs.report(scored.pop("report"))
            return scored

        predictions() >> runs.alert_of_failure()

    pipeline()
