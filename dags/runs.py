"""Airflow helpers of the pipelines: period and folder of a run, refusals, failure alerts."""

import functools
import sys
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from airflow.exceptions import AirflowFailException, AirflowSkipException
from airflow.sdk import Asset, Param, dag, get_current_context, task
from ml.problem import PATTERNS, Problem

REASON = "refused"
EPOCH = datetime(2013, 1, 1)
DEFAULTS = {
    "owner": "mlops",
    "retries": 2,
    "retry_delay": timedelta(seconds=20),
    "execution_timeout": timedelta(minutes=15),
}
"""Default arguments of all tasks of the pipelines."""


def pipeline(problem: Problem, role: str, text: str | None, **options: Any) -> Any:
    """Return a decorator that makes a DAG of a function: the training, monitoring or scoring.

    `text` describes the pipeline. `options` are arguments of `dag`; None keeps the default.
    """
    usual = {
        "dag_id": problem.dag(role),
        "start_date": EPOCH,
        "catchup": False,
        "is_paused_upon_creation": False,
        # Two concurrent trainings could both replace the same champion.
        "max_active_runs": 1,
        "dagrun_timeout": timedelta(hours=2),
        "default_args": DEFAULTS,
        "tags": [role, f"problem:{problem.name}"],
        "doc_md": f"{sys.modules[problem.module].__doc__}\n\n{text}",
    }
    return dag(**(usual | {name: value for name, value in options.items() if value is not None}))


def step(function: Callable[..., Any] | None = None, **options: Any) -> Any:
    """Make a function a task. It fails without retries on `Refused`, and skips on `NothingToDo`."""
    if function is None:
        return functools.partial(step, **options)

    @functools.wraps(function)
    def run(*args: Any, **kwargs: Any) -> Any:
        from ml import NothingToDo, Refused

        try:
            return function(*args, **kwargs)
        except Refused as refused:
            get_current_context()["ti"].xcom_push(REASON, str(refused))
            raise AirflowFailException(str(refused)) from None
        except NothingToDo as reason:
            report([str(reason)])
            raise AirflowSkipException(str(reason)) from None

    return task(multiple_outputs=False, **options)(run)


def asset(problem: Problem, event: str) -> Asset:
    """Return an asset: `champion` when the alias moves, `drift` when a period has drifted."""
    return Asset(name=f"{problem.name}-{event}", group=problem.name)


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


def event() -> dict[str, Any]:
    """Return the `extra` of the asset event that started this run, or an empty dict.

    If there are several events, return the one with the newest period, which supersedes the others.
    """
    events = (get_current_context().get("triggering_asset_events") or {}).values()
    extras = [event.extra for group in events for event in group if "period" in event.extra]
    return max(extras, key=lambda extra: extra["period"], default={})


def period(problem: Problem, param: str) -> str:
    """Return a run's period from the parameter, its asset event or data interval, else "".

    The data interval of a run that was started manually or by an asset is not used, nor is one of a
    problem without time.
    """
    context = get_current_context()
    interval = context.get("data_interval_start")
    scheduled = context["dag_run"].run_type in ("scheduled", "backfill") and problem.time
    style = "%Y-%m" if problem.unit == "month" else "%Y-%m-%d"
    by_interval = interval.strftime(style) if scheduled and interval else ""
    return context["params"][param] or event().get("period") or by_interval


def folder() -> Path:
    """Return the folder through which the tasks of this run exchange data."""
    from ml import data

    run = get_current_context()["dag_run"]
    return data.run_folder(run.dag_id, run.run_id)


def report(lines: list[str]) -> None:
    """Log lines, and store them for `inv trigger DAG --wait` to print."""
    print("\n".join(lines))
    get_current_context()["ti"].xcom_push("report", lines)


@task(trigger_rule="one_failed", retries=0)
def alert_of_failure() -> None:
    """Send an alert that names the failed tasks. Place it downstream of all tasks.

    It is a task because Airflow 3.0.1 cannot run the callback of a task whose process was killed.
    The task would never end, and its file would not be parsed again. This task fails too, because
    the last tasks of a run determine its state.
    """
    from stack_runtime.airflow.alerting import send_failure

    raise AirflowFailException(send_failure(get_current_context()["ti"], REASON))
