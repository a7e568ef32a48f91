"""Airflow helpers of the pipelines: period and folder of a run, refusals, failure alerts."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from airflow.exceptions import AirflowFailException, AirflowSkipException
from airflow.sdk import Param, get_current_context, task
from ml.problem import PATTERNS, Problem

REASON = "refused"


def period_param(problem: Problem, description: str) -> Param:
    """Return a parameter for a run that accepts a period such as 2013-05, or nothing.

    Nothing is null, which a cleared field of Airflow's form sends, or an empty string. Only a
    parameter that accepts null is optional in the form.
    """
    pattern = rf"^({PATTERNS[problem.unit]})?$"
    return Param(None, type=["null", "string"], pattern=pattern, description=description)


def start_of(period: str) -> datetime | None:
    """Return the start of a period such as 2013-05 or 2013-05-06, or None if it is blank."""
    return datetime.fromisoformat(f"{period}-01"[:10]) if period else None


def doc(problem: Problem, text: str | None) -> str:
    """Return the text of a DAG's page: what the problem is, and what the pipeline does."""
    return f"{sys.modules[problem.module].__doc__}\n\n{text}"


def event() -> dict[str, Any]:
    """Return the `extra` of the asset event that started this run, or an empty dict.

    If there are several events, return the one with the newest period, which supersedes the others.
    """
    events = (get_current_context().get("triggering_asset_events") or {}).values()
    extras = [one.extra for each in events for one in each if "period" in one.extra]
    return max(extras, key=lambda extra: extra["period"], default={})


def period(problem: Problem, param: str) -> str:
    """Return a run's period from the parameter, its asset event or data interval, else "".

    The data interval of a run that was started manually or by an asset is not used, nor is one of a
    problem without time.
    """
    context = get_current_context()
    interval = context.get("data_interval_start")
    scheduled = context["dag_run"].run_type in ("scheduled", "backfill")
    by_interval = ""
    if scheduled and interval and problem.time:
        by_interval = interval.strftime("%Y-%m" if problem.unit == "month" else "%Y-%m-%d")
    return context["params"][param] or event().get("period") or by_interval


def skip_unless(condition: bool, reason: str) -> None:
    """Skip the task, with a reason, unless the condition is true."""
    if not condition:
        raise AirflowSkipException(reason)


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
