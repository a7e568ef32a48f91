"""A plugin with a macro, a timetable, a listener and an application of the API server.

The listener writes to the file of the DAG `journal`.
"""

import os
import sys
from pathlib import Path
from typing import ClassVar

from airflow.listeners import hookimpl
from airflow.plugins_manager import AirflowPlugin
from airflow.timetables.simple import OnceTimetable
from fastapi import FastAPI

app = FastAPI()


@app.get("/ping")
def ping():
    return {"answer": "pong"}


def upper(text):
    return text.upper()


class AtOnce(OnceTimetable):
    """Schedule one run, at once."""


@hookimpl
def on_dag_run_success(dag_run, msg):
    note(dag_run, "run succeeded")


@hookimpl
def on_task_instance_success(previous_state, task_instance):
    note(task_instance, "task succeeded")


def note(source, event):
    if source.dag_id == "planned":
        with Path(os.environ.get("DATA_DIR", "/opt/airflow/data"), "journal").open("a") as file:
            print(source.run_id, event, file=file, flush=True)


class Surroundings(AirflowPlugin):
    name = "surroundings"
    macros: ClassVar = [upper]
    timetables: ClassVar = [AtOnce]
    listeners: ClassVar = [sys.modules[__name__]]
    fastapi_apps: ClassVar = [{"app": app, "url_prefix": "/surroundings", "name": "Surroundings"}]
