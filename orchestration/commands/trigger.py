"""`inv trigger`: trigger a DAG run."""

import json
from typing import Any

from orchestration.clients import dag_runs
from orchestration.clients.airflow import Airflow
from orchestration.errors import StackError
from orchestration.project import Project


def run(project: Project, dag_id: str, conf: str | None, *, wait: bool) -> None:
    """Start a run of a DAG; with `wait` show its tasks and report, succeed only if it does."""
    airflow = Airflow(project.settings())
    run_id = dag_runs.start(airflow, dag_id, parse_conf(conf))
    print(f"{dag_id}: run {run_id} started")
    address = f"{airflow.address}/dags/{dag_id}/runs/{run_id}"
    if not wait:
        print(f"watch it: {address}")
        return
    try:
        seconds = dag_runs.follow(airflow, dag_id, run_id)
    except KeyboardInterrupt:
        raise StackError(f"not watched to its end; the run goes on: {address}") from None
    print(f"{dag_id}: success in {seconds:.0f} s")
    print_report(airflow, dag_id, run_id)


def print_report(airflow: Airflow, dag_id: str, run_id: str) -> None:
    """Print what the tasks of a run that succeeded have to say to people; mostly nothing."""
    try:
        lines = airflow.reports(dag_id, run_id)
    except StackError as error:
        # The run is a success all the same, and so is the verb.
        lines = [f"its report could not be read: {error}"]
    for line in lines:
        print(line)


def parse_conf(conf: str | None) -> dict[str, Any]:
    """The run's conf from its JSON.

    Raises StackError unless it is a JSON object.
    """
    try:
        value = json.loads(conf or "{}")
    except ValueError as error:
        raise StackError(f"--conf is not JSON: {error}") from None
    if not isinstance(value, dict):
        raise StackError("--conf must be a JSON object: --conf '{\"seed\": 7}'")
    return value
