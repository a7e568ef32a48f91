"""`inv health`: show the health of every service."""

import json
import time
from collections.abc import Iterator
from dataclasses import replace

from rich.console import Console

from orchestration import factory, health, proof, tables
from orchestration.airflow_api import Airflow
from orchestration.errors import StackError
from orchestration.project import Project
from orchestration.settings import Settings

WATCH_SECONDS = 2


def run(project: Project, *, as_json: bool, deep: bool, watch: bool = False) -> bool:
    """Print how every service is; with `deep` the canary must come through too. True: all well."""
    chosen = project.settings()
    if watch:
        if deep:
            raise StackError("--deep runs the canary once, --watch goes on: choose one of them")
        return tables.watch(reports(chosen), as_json=as_json)
    engine = factory.engine_for(chosen)
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
    engine = factory.engine_for(chosen)
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
