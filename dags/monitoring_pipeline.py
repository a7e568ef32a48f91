"""Check one month of flights: measure drift, and the champion's performance.

Tasks: arrival → drift → performance → alerting → retraining → retrained. If drift reaches the
threshold, `retraining` updates an asset, once for each month. This starts `training_pipeline` with
the data up to that month. `retrained` waits for the result, so that the next month is checked with
the new champion.

The month comes from conf (`{"month": "2013-05"}`), from the event that started the run (a new
champion), or from the data interval (scheduled or backfilled). Otherwise it is the newest month.
Reports and metrics are in the MLflow experiment `flight-delay-monitoring`, all thresholds in
`ml/drift.py`. To backfill month by month:

    inv airflow -- backfill create --dag-id monitoring_pipeline --from-date 2013-02-01
        --to-date 2013-12-31 --max-active-runs 1
"""

from datetime import datetime, timedelta
from shutil import rmtree
from typing import Any

import assets
import runs
from airflow.exceptions import AirflowSkipException
from airflow.sdk import Metadata, dag, get_current_context, task
from airflow.timetables.assets import AssetOrTimeSchedule
from airflow.timetables.interval import CronDataIntervalTimetable
from ml import FIRST_MONTH, LAST_MONTH


@dag(
    schedule=AssetOrTimeSchedule(
        timetable=CronDataIntervalTimetable("@monthly", timezone="UTC"), assets=[assets.champion]
    ),
    start_date=datetime.strptime(FIRST_MONTH, "%Y-%m"),
    end_date=datetime.strptime(LAST_MONTH, "%Y-%m") if LAST_MONTH else None,
    catchup=False,
    is_paused_upon_creation=False,
    max_active_runs=1,
    dagrun_timeout=timedelta(hours=2),
    default_args=runs.DEFAULTS,
    params={"month": runs.month_param("The month to check; blank for the newest")},
    tags=["monitoring", "flight-delay"],
    doc_md=__doc__,
)
def monitoring_pipeline() -> None:
    @task(multiple_outputs=False)
    def arrival() -> dict[str, str]:
        from ml import monitoring

        with runs.no_retry_when_refused():
            return monitoring.arrive(runs.folder(), runs.month("month"))

    @task(multiple_outputs=False)
    def drift(batch: dict[str, str]) -> dict[str, Any]:
        from ml import monitoring

        with runs.no_retry_when_refused():
            # A run started by a new champion checks that version, even if there is a newer one.
            return monitoring.measure_drift(batch, runs.event().get("version", "champion"))

    @task(multiple_outputs=False)
    def performance(batch: dict[str, str], drift_result: dict[str, Any]) -> dict[str, Any]:
        from ml import monitoring

        with runs.no_retry_when_refused():
            return monitoring.measure_performance(batch, drift_result)

    @task
    def alerting(drift_result: dict[str, Any], scores: dict[str, Any]) -> list[str]:
        from ml import alerting, monitoring

        alert = monitoring.alert(drift_result, scores)
        deliveries = alerting.send(alert) if alert else []
        runs.report([*monitoring.tell(drift_result, scores), *deliveries])  # codespell:ignore tell
        rmtree(runs.folder(), ignore_errors=True)
        return deliveries

    # One at a time, so that of two runs for one month the second sees the first one's request.
    @task(inlets=[assets.drift], outlets=[assets.drift], max_active_tis_per_dag=1)
    def retraining(drift_result: dict[str, Any]) -> Any:
        from ml.drift import newer

        month = drift_result["month"]
        events = get_current_context()["inlet_events"][assets.drift]
        requested = [event.extra.get("month") for event in events]
        if not drift_result["past_threshold"] or not newer(month, drift_result["until"], requested):
            raise AirflowSkipException("No new drift past the threshold.")
        yield Metadata(assets.drift, {"month": month})

    @task.sensor(poke_interval=10, timeout=900, mode="reschedule", soft_fail=True)
    def retrained(drift_result: dict[str, Any]) -> bool:
        from ml import tracking

        return tracking.trained_for(drift_result["month"])

    batch = arrival()
    drift_result = drift(batch)
    scores = performance(batch, drift_result)
    alert, request = alerting(drift_result, scores), retraining(drift_result)
    wait = retrained(drift_result)
    alert >> request >> wait
    [batch, drift_result, scores, alert, request, wait] >> runs.alert_of_failure()


monitoring_pipeline()
