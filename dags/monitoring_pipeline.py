"""Look at one month as if it had just arrived: do its flights differ, is the champion still good?

arrival → drift → performance → alerting, and where the month has drifted past the threshold,
retraining: it updates the asset that starts `training_pipeline` with the months to this one, once
for each month, and waits for its verdict so that the next month meets the new champion.

The month is that of the data interval (scheduled or back-filled), of conf
(`{"month": "2013-05"}`), or of the event that started the run: a new champion. Otherwise it is the
newest there is. Reports and figures are in MLflow, experiment `flight-delay-monitoring`; all
thresholds are in `ml/drift.py`. Back-fill, month after month:

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
    params={"month": runs.month_param("the month to look at; blank for the newest")},
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
    def drift(arrived: dict[str, str]) -> dict[str, Any]:
        from ml import monitoring

        with runs.no_retry_when_refused():
            # A new champion is looked at itself, though another may have followed meanwhile.
            return monitoring.measure_drift(arrived, runs.event().get("version", "champion"))

    @task(multiple_outputs=False)
    def performance(arrived: dict[str, str], drifted: dict[str, Any]) -> dict[str, Any]:
        from ml import monitoring

        with runs.no_retry_when_refused():
            return monitoring.measure_performance(arrived, drifted)

    @task
    def alerting(drifted: dict[str, Any], performed: dict[str, Any]) -> list[str]:
        from ml import alerting, monitoring

        alert = monitoring.alert(drifted, performed)
        sent = alerting.send(alert) if alert else []
        runs.report([*monitoring.tell(drifted, performed), *sent])
        rmtree(runs.folder(), ignore_errors=True)
        return sent

    # One at a time: of two runs for the same month the second must see what the first one asked.
    @task(inlets=[assets.drift], outlets=[assets.drift], max_active_tis_per_dag=1)
    def retraining(drifted: dict[str, Any]) -> Any:
        from ml.drift import newer

        month = drifted["month"]
        events = get_current_context()["inlet_events"][assets.drift]
        asked = [event.extra.get("month") for event in events]
        if not drifted["past_threshold"] or not newer(month, drifted["until"], asked):
            raise AirflowSkipException("no drift past the threshold that is news")
        yield Metadata(assets.drift, {"month": month})

    @task.sensor(poke_interval=10, timeout=900, mode="reschedule", soft_fail=True)
    def retrained(drifted: dict[str, Any]) -> bool:
        from ml import tracking

        return tracking.trained_for(drifted["month"])

    arrived = arrival()
    drifted = drift(arrived)
    performed = performance(arrived, drifted)
    told, asked, waited = alerting(drifted, performed), retraining(drifted), retrained(drifted)
    told >> asked >> waited
    [arrived, drifted, performed, told, asked, waited] >> runs.alert_of_failure()


monitoring_pipeline()
