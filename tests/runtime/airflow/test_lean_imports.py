"""What services import no more, and who asks for it gets it: each in a process of its own."""

import os
import sys

import pytest

from tests.runtime.airflow.supervised import CONFIG
from tests.support.process import run

BEGUN = """
import sys
from airflow import configuration
import lean_imports
lean_imports.put_off({service!r})
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
    ("service", "begins_with", "without"),
    [
        ("scheduler", "airflow.jobs.scheduler_job_runner",
         "libcst fastapi alembic flask_appbuilder wtforms"),
        ("dag-processor", "airflow.dag_processing.manager", "libcst alembic flask_appbuilder"),
        ("triggerer", "airflow.jobs.triggerer_job_runner", "libcst alembic flask_appbuilder"),
        ("celery", "airflow.sdk.execution_time.task_runner",
         "libcst fastapi flask_appbuilder click_repl prompt_toolkit"),
    ],
)  # fmt: skip
def test_a_service_begins_without_what_it_does_not_use(service, begins_with, without):
    then = f"""
import {begins_with}, airflow.providers_manager
airflow.providers_manager.ProvidersManager()
print([name for name in {without.split()} if name in sys.modules])
"""
    assert done(BEGUN.format(service=service) + then) == "[]"


def test_without_it_the_scheduler_would_import_all_of_it():
    # What the others show would be nothing with an Airflow that does not import it by itself.
    then = "print([name for name in ('libcst', 'fastapi', 'alembic') if name in sys.modules])"
    alone = f"import sys, airflow.jobs.scheduler_job_runner\n{then}"
    assert done(alone, path="") == "['libcst', 'fastapi', 'alembic']"


MIGRATE = """
from airflow.utils import db, db_manager
print(type(db.RunDBManager()) is db_manager.RunDBManager)
"""
# The form for connections has its fields at the API server alone.
FORM = """
from airflow.providers_manager import ProvidersManager
manager = ProvidersManager()
print(manager.hooks["fs"].hook_class_name, "extra__fs__path" in manager.connection_form_widgets)
"""
HOOK = "airflow.providers.standard.hooks.filesystem.FSHook"
# A result of a task is read as before.
READ_RESULT = """
from airflow.sdk.execution_time.comms import SetXCom
print(SetXCom(key="k", value={"a": [1]}, dag_id="d", run_id="r", task_id="t").value)
"""
# What is imported already stays.
IMPORTED = """
import json
with lean_imports.standing_in("json", dumps=None):
    from json import dumps
print(dumps is json.dumps, sys.modules["json"] is json)
"""


@pytest.mark.parametrize(
    ("service", "then", "told"),
    [
        ("scheduler", READ_SOURCE.format(source=SOURCE), f"{SOURCE_READ!r} True"),
        ("celery", READ_SOURCE.format(source=SOURCE), f"{SOURCE_READ!r} True"),
        ("scheduler", MIGRATE, "True"),
        ("scheduler", FORM, f"{HOOK} False"),
        ("api-server", FORM, f"{HOOK} True"),
        ("celery", READ_RESULT, "{'a': [1]}"),
        ("scheduler", IMPORTED, "True True"),
    ],
)
def test_who_asks_for_what_was_put_off_gets_it(service, then, told):
    assert done(BEGUN.format(service=service) + then) == told
