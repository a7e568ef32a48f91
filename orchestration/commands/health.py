"""`inv health`: show the health of every service."""

import json
import time
from collections.abc import Iterator
from dataclasses import replace

from rich.console import Console

from orchestration.clients.airflow import Airflow
from orchestration.engines import factory
from orchestration.errors import StackError, UsageError
from orchestration.health import canary, render
from orchestration.health import report as health_report
from orchestration.project import Project
from orchestration.settings.model import Settings

WATCH_SECONDS = 2


def run(project: Project, *, as_json: bool, deep: bool, watch: bool = False) -> bool:
    """Print the services' state, with `deep` run the canary too; return whether all are healthy."""
    chosen = project.settings()
    if watch:
        if deep:
            cause = "--deep and --watch cannot be combined: --deep runs the canary once."
            raise UsageError(cause, fix="inv health --deep")
        return render.watch(reports(chosen), as_json=as_json)
    engine = factory.engine_for(chosen)
    report = health_report.collect(chosen, engine, memory=True)
    if deep and not report.unhealthy():
        report = with_canary(report, chosen)
    if as_json:
        print(json.dumps(report.as_dict(), indent=2))
    else:
        render.print_table(report)
        if report.status != "healthy":
            print(health_report.explain(report, engine))
    return report.status == "healthy"


def reports(chosen: Settings) -> Iterator[health_report.Report]:
    """Yield a health report every WATCH_SECONDS."""
    engine = factory.engine_for(chosen)
    while True:
        yield health_report.collect(chosen, engine, memory=True)
        time.sleep(WATCH_SECONDS)


def with_canary(report: health_report.Report, chosen: Settings) -> health_report.Report:
    """Run the canary, showing its progress on standard error; return the report with its result.

    It replaces the result of an earlier run on the status page.
    """
    started = time.monotonic()
    try:
        hops = canary.run(Airflow(chosen), Console(stderr=True, highlight=False))
    except StackError as error:
        check = health_report.Check(canary.CANARY, False, None, str(error))
        return replace(report, checks=[*report.checks, check])
    latency_ms = round((time.monotonic() - started) * 1000)
    check = health_report.Check(canary.CANARY, True, latency_ms, canary.summary(hops))
    others = [entry for entry in report.work if entry.name != canary.CANARY]
    work = [canary.result(hops), *others]
    return replace(report, checks=[*report.checks, check], work=work)
