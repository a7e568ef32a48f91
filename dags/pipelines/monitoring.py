"""Check one period of new rows: measure drift, and the champion's performance.

Tasks: arrival → drift → performance → alerting → retraining → retrained. If drift reaches the
threshold, `retraining` updates an asset, once for each period. This starts the training with the
data up to that period. `retrained` waits for the result, so that the next period is checked with
the new champion.

The period comes from conf (`{"period": "2013-05"}`), from the event that started the run (a new
champion), or from the data interval (scheduled or backfilled). Otherwise it is the newest period,
or the next batch. Reports and metrics are in the MLflow experiment NAME-monitoring, the thresholds
in the description of the problem. To backfill one period after another:

    inv airflow -- backfill create --dag-id DAG_ID --from-date FIRST_DAY \\
        --to-date LAST_DAY --max-active-runs 1
"""

from shutil import rmtree
from typing import Any

import runs
from airflow.exceptions import AirflowSkipException
from airflow.sdk import Asset, Metadata, get_current_context, task
from airflow.timetables.assets import AssetOrTimeSchedule
from airflow.timetables.interval import CronDataIntervalTimetable
from ml.problem import Problem

# Weeks start on Monday, as those of `ml.data.periods`.
CRON = {"month": "@monthly", "week": "0 0 * * 1", "day": "@daily", "batch": "@hourly"}


def create(problem: Problem) -> None:
    """Create the monitoring DAG of a problem."""
    champion, drift_asset = runs.asset(problem, "champion"), runs.asset(problem, "drift")
    timetable = CronDataIntervalTimetable(CRON[problem.unit], timezone="UTC")
    text = f"The {problem.unit} to check; blank for the newest period or next batch"

    @runs.pipeline(
        problem,
        "monitoring",
        __doc__,
        schedule=AssetOrTimeSchedule(timetable=timetable, assets=[champion]),
        start_date=runs.start_of(problem.first),
        end_date=runs.start_of(problem.last),
        params={"period": runs.period_param(problem, text)},
    )
    def pipeline() -> None:
        @runs.step
        def arrival() -> dict[str, str]:
            from ml import monitoring

            return monitoring.arrive(problem, runs.folder(), runs.period(problem, "period"))

        @runs.step
        def drift(batch: dict[str, str]) -> dict[str, Any]:
            from ml import monitoring

            # A run started by a new champion checks that version, not a later one.
            version = runs.event().get("version", "champion")
            return monitoring.measure_drift(problem, batch, version)

        @runs.step
        def performance(batch: dict[str, str], drift_result: dict[str, Any]) -> dict[str, Any]:
            from ml import monitoring

            return monitoring.measure_performance(problem, batch, drift_result)

        @runs.step
        def alerting(drift_result: dict[str, Any], scores: dict[str, Any]) -> list[str]:
            from ml import monitoring

            from stack_runtime.airflow.alerting import deliver

            deliveries = deliver(monitoring.alert(problem, drift_result, scores))
            runs.report([*monitoring.summary(problem, drift_result, scores), *deliveries])
            rmtree(runs.folder(), ignore_errors=True)
            return deliveries

        batch = arrival()
        drift_result = drift(batch)
        scores = performance(batch, drift_result)
        retraining, retrained = _retraining(problem, drift_asset)
        alert, request = alerting(drift_result, scores), retraining(drift_result)
        wait = retrained(drift_result)
        alert >> request >> wait
        [batch, drift_result, scores, alert, request, wait] >> runs.alert_of_failure()

    pipeline()


def _retraining(problem: Problem, drift_asset: Asset) -> tuple[Any, Any]:
    """Return the tasks that start a training because of drift, and wait for its result."""

    # One at a time: the second of two runs for one period has to see the first one's request.
    @task(inlets=[drift_asset], outlets=[drift_asset], max_active_tis_per_dag=1)
    def retraining(drift_result: dict[str, Any]) -> Any:
        from ml.drift import newer

        events = get_current_context()["inlet_events"][drift_asset]
        requested = [event.extra.get("period") for event in events]
        is_new = newer(drift_result["period"], drift_result["until"], requested)
        if not (drift_result["past_threshold"] and is_new):
            raise AirflowSkipException("No new drift past the threshold.")
        yield Metadata(drift_asset, {"period": drift_result["period"]})

    @task.sensor(poke_interval=10, timeout=900, mode="reschedule", soft_fail=True)
    def retrained(drift_result: dict[str, Any]) -> bool:
        from ml import tracking

        return tracking.is_trained_for(problem, drift_result["period"])

    return retraining, retrained
