"""Test operators of the provider package `standard`, whose version is newer than Airflow."""

from datetime import UTC, datetime, timedelta

import pytest
from airflow.providers.standard.operators.bash import BashOperator
from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.providers.standard.operators.latest_only import LatestOnlyOperator
from airflow.providers.standard.operators.python import ShortCircuitOperator
from airflow.sdk import task

from tests.runtime.airflow.runner import RUN, Api, in_runner, run
from tests.runtime.airflow.supervised import patched_supervisor


@pytest.fixture(scope="module")
def supervisor():
    return patched_supervisor()


@pytest.mark.parametrize(("hours_ago", "skipped"), [(0, []), (3, [["next", -1]])])
def test_latest_only_operator_in_hourly_dag_skips_old_runs(supervisor, hours_ago, skipped):
    def define_tasks():
        LatestOnlyOperator(task_id="t") >> EmptyOperator(task_id="next")

    end = datetime.now(UTC).replace(minute=0, second=0, microsecond=0) - timedelta(hours=hours_ago)
    interval = {"data_interval_start": end - timedelta(hours=1), "data_interval_end": end}
    dates = {name: date.isoformat() for name, date in interval.items()}
    dates["logical_date"] = dates["data_interval_start"]
    api = Api(run={**RUN, "run_type": "scheduled", **dates})
    run(supervisor, in_runner(define_tasks, schedule="@hourly"), api)
    assert (api.states, api.skipped) == (["success"], skipped)


def short_circuit():
    return ShortCircuitOperator(task_id="t", python_callable=lambda: False)


def branch(*names):
    return task.branch(task_id="t")(lambda: names[0] if names else None)()


@pytest.mark.parametrize(
    ("define_first", "skipped"),
    [
        (short_circuit, ["mapped", "plain"]),
        (branch, [["mapped", -1], ["plain", -1]]),
        (lambda: branch("plain"), [["mapped", -1]]),
    ],
)
def test_skip_reaches_mapped_and_plain_tasks(supervisor, define_first, skipped):
    def define_tasks():
        mapped = BashOperator.partial(task_id="mapped").expand(bash_command=["true", "false"])
        define_first() >> [EmptyOperator(task_id="plain"), mapped]

    run(supervisor, in_runner(define_tasks), api := Api())
    assert (api.states, sorted(api.skipped)) == (["success"], skipped)
