"""Test that services do not import deferred modules until they use them, each in a process."""

import os
import sys

import pytest

from tests.runtime.airflow.supervised import CONFIG
from tests.support.process import run

START = """
import sys
from airflow import configuration
from stack_runtime.airflow import patches
patches.load_deferred()
"""
# A task in a virtual environment reads its source.
READ_SOURCE = """
from airflow.sdk.bases import decorator
source = decorator.remove_task_decorator({source!r}, "@task.virtualenv")
again = decorator.remove_task_decorator({source!r}, "@task.virtualenv")
print(repr(source), source == again)
"""
SOURCE = "@task.virtualenv(requirements=[])\ndef f():\n    return 1\n"
SOURCE_READ = SOURCE.partition("\n")[2]


def last_line(code, path=str(CONFIG)):
    """Run code in a process of Airflow's environment, and return the last line of its output."""
    argv = [sys.executable, "-W", "ignore", "-c", code]
    result = run(*argv, env={**os.environ, "PYTHONPATH": path})
    assert result.returncode == 0, result.stderr[-3000:]
    return result.stdout.splitlines()[-1]


@pytest.mark.parametrize(
    ("module", "without"),
    [
        ("airflow.jobs.scheduler_job_runner", "libcst fastapi alembic"),
        ("airflow.dag_processing.manager", "libcst alembic"),
        ("airflow.jobs.triggerer_job_runner", "libcst alembic"),
        ("airflow.sdk.execution_time.task_runner", "libcst alembic"),
    ],
)
def test_service_imports_no_unused_modules(module, without):
    code = f"""
import {module}, airflow.providers_manager
airflow.providers_manager.ProvidersManager()
print([name for name in {without.split()} if name in sys.modules])
"""
    assert last_line(START + code) == "[]"


def test_scheduler_without_patches_imports_all_modules():
    # Otherwise the tests above would prove nothing.
    code = "print([name for name in ('libcst', 'fastapi', 'alembic') if name in sys.modules])"
    alone = f"import sys, airflow.jobs.scheduler_job_runner\n{code}"
    assert last_line(alone, path="") == "['libcst', 'fastapi', 'alembic']"


MIGRATE = """
from airflow.utils import db, db_manager
print(type(db.RunDBManager()) is db_manager.RunDBManager)
"""
# A module that is already imported is not replaced.
IMPORTED = """
import json
with patches.imports.stand_in("json", dumps=None):
    from json import dumps
print(dumps is json.dumps, sys.modules["json"] is json)
"""


@pytest.mark.parametrize(
    ("code", "output"),
    [
        (READ_SOURCE.format(source=SOURCE), f"{SOURCE_READ!r} True"),
        (MIGRATE, "True"),
        (IMPORTED, "True True"),
    ],
)
def test_deferred_import_works_when_used(code, output):
    assert last_line(START + code) == output
