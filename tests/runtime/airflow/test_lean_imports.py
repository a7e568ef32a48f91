"""What services import no more, and who asks for it gets it: each in a process of its own."""

import os
import subprocess
import sys

import pytest

from tests.runtime.airflow.supervised import CONFIG

BEGUN = """
import sys
from airflow import configuration
import lean_imports
lean_imports.put_off({service!r})
"""
SOURCE = "@task.virtualenv(requirements=[])\ndef f():\n    return 1\n"


def done(service: str, then: str) -> str:
    """What a process that begins as a service does, and then this, prints."""
    environment = {**os.environ, "PYTHONPATH": str(CONFIG)}
    argv = [sys.executable, "-W", "ignore", "-c", BEGUN.format(service=service) + then]
    ran = subprocess.run(argv, env=environment, capture_output=True, text=True, check=False)
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
def test_a_service_begins_without_what_it_does_not_use(
    service: str, begins_with: str, without: str
) -> None:
    then = f"""
import {begins_with}, airflow.providers_manager
airflow.providers_manager.ProvidersManager()
print([name for name in {without.split()} if name in sys.modules])
"""
    assert done(service, then) == "[]"


def test_without_it_the_scheduler_would_import_all_of_it() -> None:
    # What the others show would be nothing with an Airflow that does not import it by itself.
    then = "print([name for name in ('libcst', 'fastapi', 'alembic') if name in sys.modules])"
    alone = f"import sys, airflow.jobs.scheduler_job_runner\n{then}"
    environment = {**os.environ, "PYTHONPATH": ""}
    argv = [sys.executable, "-W", "ignore", "-c", alone]
    told = subprocess.run(argv, env=environment, capture_output=True, text=True, check=True).stdout
    assert told.splitlines()[-1] == "['libcst', 'fastapi', 'alembic']"


@pytest.mark.parametrize("service", ["scheduler", "celery"])
def test_a_task_in_a_virtual_environment_reads_its_source(service: str) -> None:
    then = f"""
from airflow.sdk.bases import decorator
told = decorator.remove_task_decorator({SOURCE!r}, "@task.virtualenv")
again = decorator.remove_task_decorator({SOURCE!r}, "@task.virtualenv")
print(repr(told), told == again)
"""
    assert done(service, then) == repr("def f():\n    return 1\n") + " True"


def test_migrations_are_there_for_who_asks_for_them() -> None:
    then = """
from airflow.utils import db, db_manager
print(type(db.RunDBManager()) is db_manager.RunDBManager)
"""
    assert done("scheduler", then) == "True"


def test_the_form_for_connections_has_its_fields_at_the_api_server_alone() -> None:
    then = """
from airflow.providers_manager import ProvidersManager
manager = ProvidersManager()
print(manager.hooks["fs"].hook_class_name, "extra__fs__path" in manager.connection_form_widgets)
"""
    hook = "airflow.providers.standard.hooks.filesystem.FSHook"
    assert done("scheduler", then) == f"{hook} False"
    assert done("api-server", then) == f"{hook} True"


def test_a_result_of_a_task_is_read_as_before() -> None:
    given = {"key": "k", "value": {"a": [1]}, "dag_id": "d", "run_id": "r", "task_id": "t"}
    then = f"""
from airflow.sdk.execution_time.comms import SetXCom
print(SetXCom(**{given!r}).value)
"""
    assert done("celery", then) == "{'a': [1]}"


def test_what_is_imported_already_stays() -> None:
    then = """
import json
with lean_imports.standing_in("json", dumps=None):
    from json import dumps
print(dumps is json.dumps, sys.modules["json"] is json)
"""
    assert done("scheduler", then) == "True True"
