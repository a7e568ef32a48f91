"""`inv trigger`: trigger a DAG run."""

import json
from datetime import UTC, datetime
from typing import Any

from orchestration.clients import dag_runs
from orchestration.clients.airflow import Airflow
from orchestration.errors import StackError, UsageError
from orchestration.project import Project


def run(
    project: Project, dag_id: str, conf: str | None, *, date: str | None = None, wait: bool
) -> None:
    """Start a DAG run. With `wait` show its tasks and report; raise StackError if it fails."""
    airflow = Airflow(project.settings())
    moment = parse_date(date)
    run_id = dag_runs.start(airflow, dag_id, parse_conf(conf), date=moment)
    state = "started"
    if moment > datetime.now(UTC):
        state = f"starts at {airflow.run(dag_id, run_id)['run_after']} or later"
    print(f"{dag_id}: run {run_id} {state}")
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
    """Parse the configuration of a run. Raises UsageError unless it is a JSON object."""
    example = "Use an object, as in: --conf '{\"seed\": 7}'"
    try:
        value = json.loads(conf or "{}")
    except ValueError as error:
        raise UsageError(f"--conf is not JSON: {error}", fix=example) from None
    if not isinstance(value, dict):
        raise UsageError("--conf must be a JSON object.", fix=example)
    return value


def parse_date(date: str | None) -> datetime:
    """Parse the logical date of a run: UTC unless it has an offset; None means now.

    Airflow's web interface sends the current time by default too. Airflow's own commands also read
    dates in UTC, in which `{{ ds }}` is shown. Raises UsageError unless the date is ISO 8601.
    """
    if date is None:
        return datetime.now(UTC)
    try:
        moment = datetime.fromisoformat(date)
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError) as error:
        example = "Use a day or a time, as in: --date 2026-01-31 or --date 2026-01-31T06:00+01:00"
        raise UsageError(f"--date is not a date: {error}", fix=example) from None
