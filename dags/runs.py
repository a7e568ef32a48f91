"""What both pipelines need of Airflow: a run's month and folder, refusals, alerts of failures."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

from airflow.exceptions import AirflowFailException
from airflow.sdk import Param, get_current_context


def month_param(description: str) -> Param:
    """A run's parameter that takes a month, or nothing."""
    return Param("", type="string", pattern=r"^(\d{4}-(0[1-9]|1[0-2]))?$", description=description)


def month(named: str) -> str:
    """The month a run is for: from its conf, its asset events, its data interval; else blank.

    `named` is the parameter. Of several asset events the newest month counts. A run started by
    hand or by an asset has no data interval.
    """
    context = get_current_context()
    events = (context.get("triggering_asset_events") or {}).values()
    asked = [event.extra["month"] for each in events for event in each if "month" in event.extra]
    interval = context.get("data_interval_start")
    scheduled = context["dag_run"].run_type in ("scheduled", "backfill")
    by_time = interval.strftime("%Y-%m") if scheduled and interval else ""
    return context["params"][named] or max(asked, default="") or by_time


def folder() -> Path:
    """The folder of this run, for what its tasks hand to each other."""
    from ml import data

    run = get_current_context()["dag_run"]
    return data.run_folder(run.dag_id, run.run_id)


def report(lines: list[str]) -> None:
    """Hand lines to whoever waits for this run: `inv trigger DAG --wait` prints them."""
    print("\n".join(lines))
    get_current_context()["ti"].xcom_push("report", lines)


@contextmanager
def no_retry_when_refused() -> Iterator[None]:
    """Fail at once, in one line, where trying again would only fail again."""
    from ml import Refused

    try:
        yield
    except Refused as refused:
        raise AirflowFailException(str(refused)) from None


def alert_of_failure(context: Any) -> None:
    """Tell the receivers of alerts that a task has failed for good."""
    from ml.alerting import Alert, send

    task = context["ti"]
    page = f"{os.environ.get('AIRFLOW_PUBLIC_URL', '')}/dags/{task.dag_id}/runs/{task.run_id}"
    reason = str(context.get("exception") or "it was ended from outside").splitlines()[:1]
    send(Alert(f"{task.dag_id}: task {task.task_id} failed", reason, {"Airflow": page}))


DEFAULTS = {
    "owner": "mlops",
    "retries": 2,
    "retry_delay": timedelta(seconds=20),
    "execution_timeout": timedelta(minutes=15),
    "on_failure_callback": alert_of_failure,
}
"""Arguments of every task of both pipelines."""
