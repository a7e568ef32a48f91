"""Airflow helpers of both pipelines: month and folder of a run, refusals, failure alerts."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

from airflow.exceptions import AirflowFailException
from airflow.sdk import Param, get_current_context, task

REASON = "refused"


def month_param(description: str) -> Param:
    """Return a parameter for a run that accepts a month such as 2013-05, or nothing.

    Nothing is null, which a cleared field of Airflow's form sends, or an empty string. Only a
    parameter that accepts null is optional in the form.
    """
    pattern = r"^(\d{4}-(0[1-9]|1[0-2]))?$"
    return Param(None, type=["null", "string"], pattern=pattern, description=description)


def event() -> dict[str, Any]:
    """Return the `extra` of the asset event that started this run, or an empty dict.

    If there are several events, return the one with the newest month, which supersedes the others.
    """
    events = (get_current_context().get("triggering_asset_events") or {}).values()
    extras = [one.extra for each in events for one in each if "month" in one.extra]
    return max(extras, key=lambda extra: extra["month"], default={})


def month(param: str) -> str:
    """Return a run's month from the parameter `param`, its asset event or data interval, else "".

    The data interval of a run that was started manually or by an asset is not used.
    """
    context = get_current_context()
    interval = context.get("data_interval_start")
    scheduled = context["dag_run"].run_type in ("scheduled", "backfill")
    by_interval = interval.strftime("%Y-%m") if scheduled and interval else ""
    return context["params"][param] or event().get("month") or by_interval


def folder() -> Path:
    """Return the folder through which the tasks of this run exchange data."""
    from ml import data

    run = get_current_context()["dag_run"]
    return data.run_folder(run.dag_id, run.run_id)


def report(lines: list[str]) -> None:
    """Log lines, and store them for `inv trigger DAG --wait` to print."""
    print("\n".join(lines))
    get_current_context()["ti"].xcom_push("report", lines)


@contextmanager
def no_retry_when_refused() -> Iterator[None]:
    """Fail the task without retries, and without a traceback, if a retry could not succeed."""
    from ml import Refused

    try:
        yield
    except Refused as refused:
        get_current_context()["ti"].xcom_push(REASON, str(refused))
        raise AirflowFailException(str(refused)) from None


@task(trigger_rule="one_failed", retries=0)
def alert_of_failure() -> None:
    """Send an alert that names the failed tasks; place it downstream of all tasks.

    It is a task because Airflow 3.0.1 cannot run the callback of a task whose process was killed.
    The task would never end, and its file would not be parsed again. This task fails too, because
    the last tasks of a run determine its state.
    """
    from ml.alerting import Alert, send

    ti = get_current_context()["ti"]
    states = ti.get_task_states(dag_id=ti.dag_id, run_ids=[ti.run_id])[ti.run_id]
    failed = [name for name, state in states.items() if state == "failed"]
    reasons = [_reason(ti, name) for name in failed]
    page = f"{os.environ.get('AIRFLOW_PUBLIC_URL', '')}/dags/{ti.dag_id}/runs/{ti.run_id}"
    title = f"{ti.dag_id}: {', '.join(failed)} failed"
    send(Alert(title, [reason for reason in reasons if reason], {"Airflow": page}))
    raise AirflowFailException(title)


def _reason(ti: Any, name: str) -> str | None:
    """Return why a task refused its input; `name` is `training_0` for a mapped task."""
    if name in ti.task.upstream_task_ids:
        return ti.xcom_pull(task_ids=name, key=REASON)
    task_id, _, index = name.rpartition("_")
    return ti.xcom_pull(task_ids=task_id, key=REASON, map_indexes=int(index))


DEFAULTS = {
    "owner": "mlops",
    "retries": 2,
    "retry_delay": timedelta(seconds=20),
    "execution_timeout": timedelta(minutes=15),
}
"""Default arguments of all tasks of both pipelines."""
