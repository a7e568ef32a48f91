"""The verbs that use a stack as it is: health, logs, open, trigger, airflow, shell."""

import json
import time
import webbrowser
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import requests
from rich.console import Console

from orchestration import StackError, health, log_files, proof, tables, web
from orchestration.airflow_api import Airflow
from orchestration.engine import check_service
from orchestration.factory import engine_for
from orchestration.settings import Settings

WATCH_SECONDS = 2
PAGES = {
    "status": "STATUS_PORT",
    "airflow-apiserver": "AIRFLOW_PORT",
    "mlflow": "MLFLOW_PORT",
}


def report_health(*, as_json: bool, deep: bool, watch: bool = False) -> bool:
    """Print how every service is; with `deep` the canary must come through too. True: all well."""
    chosen = Settings.load()
    if watch:
        if deep:
            raise StackError("--deep runs the canary once, --watch goes on: choose one of them")
        return tables.watch(reports(chosen), as_json=as_json)
    engine = engine_for(chosen)
    report = health.look(chosen, engine, memory=True)
    if deep and report.status == "healthy":
        report = replace(report, checks=[*report.checks, canary_check(chosen)])
    if as_json:
        print(json.dumps(report.as_dict(), indent=2))
    else:
        tables.print_table(report)
        if report.status != "healthy":
            print(health.explain(report, engine))
    return report.status == "healthy"


def reports(chosen: Settings) -> Iterator[health.Report]:
    """How every service is, again and again."""
    engine = engine_for(chosen)
    while True:
        yield health.look(chosen, engine, memory=True)
        time.sleep(WATCH_SECONDS)


def canary_check(chosen: Settings) -> health.Check:
    """The proof as one more check of the report; its progress goes to standard error."""
    started = time.monotonic()
    try:
        told = proof.prove(Airflow(chosen), Console(stderr=True, highlight=False))
    except StackError as error:
        return health.Check(proof.CANARY, False, None, str(error))
    return health.Check(proof.CANARY, True, round((time.monotonic() - started) * 1000), told)


def show_logs(service: str | None, *, tail: str, since: str, follow: bool) -> None:
    """Print the logs of one service or all.

    Raises StackError for a service that does not exist, a `tail` that is no number, or a `since`
    that is no span.
    """
    if not tail.isdecimal():
        raise StackError(f"--tail {tail} is no number of lines: --tail 100")
    if since:
        log_files.span(since)
    engine = engine_for(Settings.load())
    if service:
        check_service(engine, service, list(engine.services()))
    code = engine.logs([service] if service else [], tail=int(tail), since=since, follow=follow)
    if code not in (0, 130):
        raise StackError("the logs could not be read: inv health")


def trigger(dag_id: str, conf: str | None, *, wait: bool) -> None:
    """Start a run of a DAG; with `wait` show its tasks and report, succeed only if it does."""
    airflow = Airflow(Settings.load())
    run_id = proof.start(airflow, dag_id, parse_conf(conf))
    print(f"{dag_id}: run {run_id} started")
    address = f"{airflow.address}/dags/{dag_id}/runs/{run_id}"
    if not wait:
        print(f"watch it: {address}")
        return
    try:
        seconds = proof.follow(airflow, dag_id, run_id)
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


def airflow_cli(arguments: Sequence[str]) -> int:
    """Airflow's own command line in the stack; its exit code."""
    return _in_service("airflow-apiserver", ["airflow", *arguments])


def open_shell(service: str) -> int:
    """A shell where a service runs; its exit code."""
    return _in_service(service, ["bash"])


def _in_service(service: str, argv: Sequence[str]) -> int:
    engine = engine_for(Settings.load())
    if wrong := engine.problems():
        raise StackError("\n".join(wrong))
    check_service(engine, service, list(engine.services()))
    if not engine.is_built():
        raise StackError("what it runs from is not built: inv install")
    return engine.run(service, argv)


def open_page(service: str) -> None:
    """Open a service's page in the person's browser.

    Raises StackError for a service without one, where nothing answers, or without a browser.
    """
    chosen = Settings.load()
    if service not in PAGES:
        raise StackError(f"{service} has no page; pages: {', '.join(PAGES)}")
    address = chosen.public_url(PAGES[service])
    try:
        with web.session(chosen) as session:
            session.get(chosen.url(PAGES[service]), timeout=health.PATIENCE_SECONDS)
    except requests.RequestException:
        raise StackError(f"nothing answers at {address}: inv up") from None
    print(address)
    if not webbrowser.open(address):
        port = chosen[PAGES[service]]
        raise StackError(
            f"no browser could be opened here; from another machine: "
            f"ssh -L {port}:127.0.0.1:{port} THIS-HOST, then {address}"
        )
