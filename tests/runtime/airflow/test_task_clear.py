"""Test `airflow tasks clear` with Airflow's real command line, models and a database."""

import importlib
from datetime import UTC, datetime

import pytest

from tests.runtime.airflow import database
from tests.runtime.airflow.supervised import runtime

DAGS = """
from datetime import datetime

from airflow.sdk import dag, task


@dag(schedule="@daily", start_date=datetime(2026, 1, 1), catchup=False)
def cleared():
    @task
    def first(): ...

    @task
    def second(): ...

    first() >> second()


cleared()
"""
RUN = "scheduled__2026-01-02"


@pytest.fixture(scope="module")
def stored(tmp_path_factory):
    """Add a DAG to the database, with a run whose two tasks have finished."""
    # Airflow imports the configuration before the cluster policy, which registers the patches.
    importlib.import_module("airflow.configuration")
    runtime("airflow.cluster_policy")
    database.create()
    file = tmp_path_factory.mktemp("dags") / "cleared.py"
    file.write_text(DAGS)
    database.add_dags(file)
    database.add_run("cleared", RUN, logical_date=datetime(2026, 1, 2, tzinfo=UTC))


@pytest.fixture
def session(stored):
    from airflow.models.taskinstance import TaskInstance
    from airflow.utils.session import create_session
    from sqlalchemy import update

    with create_session(scoped=False) as session:
        finished = update(TaskInstance).where(TaskInstance.run_id == RUN).values(state="success")
        session.execute(finished)
        session.commit()
        yield session


def clear(*words):
    """Run `airflow tasks clear`."""
    from airflow.cli import cli_parser

    arguments = cli_parser.get_parser().parse_args(["tasks", "clear", "--yes", *words])
    arguments.func(arguments)


def states(session):
    return {name: database.task_instance(session, name, RUN).state for name in ("first", "second")}


@pytest.mark.parametrize("words", [["cleared"], ["--dag-regex", "^clear"]])
def test_clear_of_a_dag_clears_all_its_tasks(session, words):
    clear(*words)
    assert states(session) == {"first": None, "second": None}


def test_clear_of_one_task_leaves_the_others(session):
    clear("cleared", "--task-regex", "second")
    assert states(session) == {"first": "success", "second": None}
