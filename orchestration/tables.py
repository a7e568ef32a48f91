"""What the verbs show of services: tables, progress lines, addresses."""

import sys

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from orchestration import health
from orchestration.health import Report
from orchestration.progress import Line
from orchestration.proof import CANARY
from orchestration.settings import Settings


def print_table(report: Report) -> None:
    """The report for people."""
    table = Table(box=None, pad_edge=False)
    for heading in ("", "service", "state", "for", "restarts", "memory"):
        right = heading in ("for", "restarts", "memory")
        table.add_column(heading, justify="right" if right else "left", no_wrap=True)
    table.add_column("detail")
    for row in report.services:
        mark = "[green]✓[/]" if row.healthy else "[red]✗[/]"
        memory = f"{row.memory_bytes / 2**20:.0f} MiB" if row.memory_bytes else ""
        cells = (row.name, row.state, health.uptime(row), str(row.restarts), memory, row.detail)
        table.add_row(mark, *map(escape, cells))
    # A pipe has no width to fit into: whatever reads it wants whole lines.
    console = Console(highlight=False, width=None if sys.stdout.isatty() else 160)
    console.print(table)
    for check in report.checks:
        if check.name == CANARY:
            console.print(f"canary: {check.detail}", markup=False)
    console.print(f"{report.status} ({report.engine})")


def progress_lines(report: Report) -> list[Line]:
    """The report as rows of a start in progress."""
    return [*map(_line, report.services), *map(_check_line, report.checks)]


def addresses(chosen: Settings) -> str:
    """Where the pages are, and who may log in."""
    account = f"(user {chosen['_AIRFLOW_WWW_USER_USERNAME']}, password in .env)"
    return "\n".join(
        (
            f"  Airflow  {chosen.url('AIRFLOW_PORT')}  {account}",
            f"  MLflow   {chosen.url('MLFLOW_PORT')}",
            f"  status   {chosen.url('STATUS_PORT')}",
        )
    )


def _line(row: health.Row) -> Line:
    failed = row.state in ("exited", "dead", "restarting")
    return row.name, "ok" if row.healthy else ("bad" if failed else "wait"), row.detail


def _check_line(check: health.Check) -> Line:
    return f"{check.name} from here", "ok" if check.healthy else "wait", check.detail
