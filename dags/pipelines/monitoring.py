"""Check one period of new rows: measure drift, and the champion's performance.

Tasks: arrival → drift → performance → alerting → retraining → retrained. If drift reaches the
threshold, `retraining` updates an asset, once for each period. This starts the training with the
data up to that period. `retrained` waits for the result, so that the next period is checked with
the new champion.

The period comes from conf (`{"period": "2013-05"}`), from the event that started the run (a new
champion), or from the data interval (scheduled or backfilled). Otherwise it is the newest period,
or the next batch. Reports and metrics are in the MLflow experiment NAME-monitoring, the thresholds
in the description of the problem. To backfill one period after another:

    inv airflow -- backfill create --dag-id DAG_ID --from-date 2013-02-01
        --to-date 2013-12-31 --max-active-runs 1
"""

from datetime import datetime, timedelta
from shutil import rmtree
from typing import Any

import runs
from airflow.sdk import Metadata, dag, get_current_context, task
from airflow.timetables.assets import AssetOrTimeSchedule
from airflow.timetables.interval import CronDataIntervalTimetable
from ml.problem import Problem

from pipelines import assets

CRON = {"month": "@monthly", "week": "@weekly", "day": "@daily", "batch": "@daily"}
EPOCH = datetime(2013, 1, 1)


def create(problem: Problem) -> None:
    """Create the monitoring DAG of a problem."""
    champion, drift_asset = assets.champion(problem), assets.drift(problem)

    @dag(
        dag_id=problem.dag("monitoring"),
        schedule=AssetOrTimeSchedule(
            timetable=CronDataIntervalTimetable(CRON[problem.unit], timezone="UTC"),
            assets=[champion],
        ),
        start_date=runs.start_of(problem.first) or EPOCH,
        end_date=runs.start_of(problem.last),
        catchup=False,
        is_paused_upon_creation=False,
        max_active_runs=1,
        dagrun_timeout=timedelta(hours=2),
        default_args=runs.DEFAULTS,
        params={
            "period": runs.period_param(
                problem, f"The {problem.unit} to check; blank for the newest"
            )
        },
        tags=["monitoring", f"problem:{problem.name}"],
        doc_md=runs.doc(problem, __doc__),
    )
    def pipeline() -> None:
        @task(multiple_outputs=False)
        def arrival() -> dict[str, str]:
            from ml import monitoring

            with runs.no_retry_when_refused():
                return monitoring.arrive(problem, runs.folder(), runs.period(problem, "period"))

        @task(multiple_outputs=False)
        def drift(batch: dict[str, str]) -> dict[str, Any]:
            from ml import monitoring

            with runs.no_retry_when_refused():
                # A run started by a new champion checks that version, not a later one.
                version = runs.event().get("version", "champion")
                return monitoring.measure_drift(problem, batch, version)

        @task(multiple_outputs=False)
        def performance(batch: dict[str, str], drift_result: dict[str, Any]) -> dict[str, Any]:
            from ml import monitoring

            with runs.no_retry_when_refused():
                return monitoring.measure_performance(problem, batch, drift_result)

        @task
        def alerting(drift_result: dict[str, Any], scores: dict[str, Any]) -> list[str]:
            from ml import alerting, monitoring

            alert = monitoring.alert(problem, drift_result, scores)
            deliveries = alerting.send(alert) if alert else []
            runs.report([*monitoring.summary(problem, drift_result, scores), *deliveries])
            rmtree(runs.folder(), ignore_errors=True)
            return deliveries

        # One at a time: the second of two runs for one period has to see the first one's request.
        @task(inlets=[drift_asset], outlets=[drift_asset], max_active_tis_per_dag=1)
        def retraining(drift_result: dict[str, Any]) -> Any:
            from ml.drift import is_worth_training

            events = get_current_context()["inlet_events"][drift_asset]
            requested = [event.extra.get("period") for event in events]
            is_new = is_worth_training(drift_result, requested)
            runs.skip_unless(is_new, "No new drift past the threshold.")
            yield Metadata(drift_asset, {"period": drift_result["period"]})

        @task.sensor(poke_interval=10, timeout=900, mode="reschedule", soft_fail=True)
        def retrained(drift_result: dict[str, Any]) -> bool:
            from ml import tracking

            return tracking.is_trained_for(problem, drift_result["period"])

        batch = arrival()
        drift_result = drift(batch)
        scores = performance(batch, drift_result)
        alert, request = alerting(drift_result, scores), retraining(drift_result)
        wait = retrained(drift_result)
        alert >> request >> wait
        [batch, drift_result, scores, alert, request, wait] >> runs.alert_of_failure()

    pipeline()
