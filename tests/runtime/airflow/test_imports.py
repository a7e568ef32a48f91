"""What services import no more, and who asks for it gets it: each in a process of its own."""

import os
import sys

import pytest

from tests.runtime.airflow.supervised import CONFIG
from tests.support.process import run

BEGUN = """
import sys
from airflow import configuration
from stack_runtime.airflow import patches
patches.load_put_off()
"""
# A task in a virtual environment reads its source.
READ_SOURCE = """
from airflow.sdk.bases import decorator
told = decorator.remove_task_decorator({source!r}, "@task.virtualenv")
again = decorator.remove_task_decorator({source!r}, "@task.virtualenv")
print(repr(told), told == again)
"""
SOURCE = "@task.virtualenv(requirements=[])\ndef f():\n    return 1\n"
SOURCE_READ = SOURCE.partition("\n")[2]


def done(code, path=str(CONFIG)):
    """The last line that a process of Airflow's environment prints."""
    argv = [sys.executable, "-W", "ignore", "-c", code]
    ran = run(*argv, env={**os.environ, "PYTHONPATH": path})
    assert ran.returncode == 0, ran.stderr[-3000:]
    return ran.stdout.splitlines()[-1]


@pytest.mark.parametrize(
    ("begins_with", "without"),
    [
        ("airflow.jobs.scheduler_job_runner", "libcst fastapi alembic"),
        ("airflow.dag_processing.manager", "libcst alembic"),
        ("airflow.jobs.triggerer_job_runner", "libcst alembic"),
        ("airflow.sdk.execution_time.task_runner", "libcst alembic"),
    ],
)
def test_a_service_begins_without_what_it_does_not_use(begins_with, without):
    then = f"""
import {begins_with}, airflow.providers_manager
airflow.providers_manager.ProvidersManager()
print([name for name in {without.split()} if name in sys.modules])
"""
    assert done(BEGUN + then) == "[]"


def test_without_it_the_scheduler_would_import_all_of_it():
    # What the others show would be nothing with an Airflow that does not import it by itself.
    then = "print([name for name in ('libcst', 'fastapi', 'alembic') if name in sys.modules])"
    alone = f"import sys, airflow.jobs.scheduler_job_runner\n{then}"
    assert done(alone, path="") == "['libcst', 'fastapi', 'alembic']"


MIGRATE = """
from airflow.utils import db, db_manager
print(type(db.RunDBManager()) is db_manager.RunDBManager)
"""
# What is imported already stays.
IMPORTED = """
import json
with patches.imports.stand_in("json", dumps=None):
    from json import dumps
print(dumps is json.dumps, sys.modules["json"] is json)
"""


@pytest.mark.parametrize(
    ("then", "told"),
    [
        (READ_SOURCE.format(source=SOURCE), f"{SOURCE_READ!r} True"),
        (MIGRATE, "True"),
        (IMPORTED, "True True"),
    ],
)
def test_who_asks_for_what_was_put_off_gets_it(then, told):
    assert done(BEGUN + then) == told
