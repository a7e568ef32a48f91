"""`inv trigger`: trigger a DAG run."""

import json
from typing import Any

from orchestration.clients import dag_runs
from orchestration.clients.airflow import Airflow
from orchestration.errors import StackError
from orchestration.project import Project


def run(project: Project, dag_id: str, conf: str | None, *, wait: bool) -> None:
    """Start a DAG run. With `wait` show its tasks and report; raise StackError if it fails."""
    airflow = Airflow(project.settings())
    run_id = dag_runs.start(airflow, dag_id, parse_conf(conf))
    print(f"{dag_id}: run {run_id} started")
    address = f"{airflow.address}/dags/{dag_id}/runs/{run_id}"
    if not wait:
        print(f"Open: {address}")
        return
    try:
        seconds = dag_runs.follow(airflow, dag_id, run_id)
    except KeyboardInterrupt:
        raise StackError("Stopped waiting. The run continues.", fix=f"Open: {address}") from None
    print(f"{dag_id}: success in {seconds:.0f} s")
    print_report(airflow, dag_id, run_id)


def print_report(airflow: Airflow, dag_id: str, run_id: str) -> None:
    """Print the report lines of a successful run's tasks; most runs have none."""
    try:
        lines = airflow.reports(dag_id, run_id)
    except StackError as error:
        # The run succeeded, so the command succeeds too.
        lines = [f"The run's report could not be read: {error}"]
    for line in lines:
        print(line)


def parse_conf(conf: str | None) -> dict[str, Any]:
    """Parse the configuration of a run. Raises StackError unless it is a JSON object."""
    example = "Use an object, as in: --conf '{\"seed\": 7}'"
    try:
        value = json.loads(conf or "{}")
    except ValueError as error:
        raise StackError(f"--conf is not JSON: {error}", fix=example) from None
    if not isinstance(value, dict):
        raise StackError("--conf must be a JSON object.", fix=example)
    return value
