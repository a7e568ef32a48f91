"""Test the cluster policy: default retries, and no values of variables in tracebacks."""

import importlib
import io
import sys
from datetime import datetime, timedelta

import pytest
from airflow.sdk import DAG, task

from tests.runtime.airflow.supervised import CONFIG


@pytest.fixture
def policy(monkeypatch):
    monkeypatch.setenv("AIRFLOW__CORE__DEFAULT_TASK_RETRIES", "2")
    monkeypatch.setenv("AIRFLOW__CORE__DEFAULT_TASK_RETRY_DELAY", "30")
    monkeypatch.syspath_prepend(CONFIG)
    return importlib.import_module("airflow_local_settings").task_policy


@pytest.mark.parametrize("mapped", [False, True])
@pytest.mark.parametrize(
    ("of_dag", "of_task", "retries", "delay"),
    [
        ({}, {}, 2, 30),
        ({"owner": "x"}, {"retry_delay": timedelta(seconds=5)}, 2, 5),
        ({"retries": 0}, {}, 0, 30),
        ({}, {"retries": 0}, 0, 30),
        ({"retries": 4}, {"retries": 1}, 1, 30),
    ],
)
def test_policy_sets_retries_unless_dag_does(policy, of_dag, of_task, retries, delay, mapped):
    with DAG("one", schedule=None, start_date=datetime(2025, 1, 1), default_args=of_dag) as dag:

        @task(**of_task)
        def work(number): ...

        work.expand(number=[1, 2]) if mapped else work(1)
    [operator] = dag.tasks
    policy(operator)
    assert (operator.retries, operator.retry_delay) == (retries, timedelta(seconds=delay))


def test_tracebacks_show_no_values_of_variables(policy):
    structlog = importlib.import_module("structlog.dev")
    key = "made-up"  # pragma: allowlist secret
    output = io.StringIO()
    for formatter in (structlog.rich_traceback, structlog.RichTracebackFormatter(show_locals=True)):
        try:
            raise ValueError(len(key))
        except ValueError:
            formatter(output, sys.exc_info())
    assert output.getvalue().count("ValueError") >= 2
    assert "made-up" not in output.getvalue().replace('key = "made-up"', "")
