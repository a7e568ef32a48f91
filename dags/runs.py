"""What both pipelines need of Airflow: a run's month and folder, refusals, alerts of failure."""

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
    """A run's parameter that takes a month, or nothing."""
    return Param("", type="string", pattern=r"^(\d{4}-(0[1-9]|1[0-2]))?$", description=description)


def event() -> dict[str, Any]:
    """The `extra` of the asset event that started this run, empty where none did.

    Of several the one with the newest month: a later one makes the earlier ones history.
    """
    events = (get_current_context().get("triggering_asset_events") or {}).values()
    told = [one.extra for each in events for one in each if "month" in one.extra]
    return max(told, key=lambda extra: extra["month"], default={})


def month(named: str) -> str:
    """The month a run is for: from its conf, its asset event, its data interval; else blank.

    `named` is the parameter. A run started by hand or by an asset has no data interval.
    """
    context = get_current_context()
    interval = context.get("data_interval_start")
    scheduled = context["dag_run"].run_type in ("scheduled", "backfill")
    by_time = interval.strftime("%Y-%m") if scheduled and interval else ""
    return context["params"][named] or event().get("month") or by_time


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
        get_current_context()["ti"].xcom_push(REASON, str(refused))
        raise AirflowFailException(str(refused)) from None


@task(trigger_rule="one_failed", retries=0)
def alert_of_failure() -> None:
    """Tell the receivers of alerts which tasks have failed for good; downstream of all of them.

    A task and not a callback: Airflow 3.0.1 cannot run those of a task whose process was killed,
    and then neither ends the task nor parses its file again. It fails itself, because a run is
    what its last tasks are.
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
    """Why a task refused, by the name its state goes by: `training_0` for a mapped one."""
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
"""Arguments of every task of both pipelines."""
