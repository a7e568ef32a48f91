"""Format health reports: tables, live display and progress lines."""

import json
import sys
from collections.abc import Iterable
from contextlib import nullcontext
from datetime import datetime

from rich.console import Console, Group
from rich.live import Live
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from orchestration.health import report as health_report
from orchestration.health.canary import CANARY
from orchestration.health.report import Report
from orchestration.process.progress import Line

WORK_MARKS = {
    "up": ("green", "✓"), "down": ("red", "✗"), "degraded": ("yellow", "!"),
    "unknown": ("magenta", "?"), "running": ("default", "…"),
}  # fmt: skip


def print_table(report: Report) -> None:
    """Print the report as a table."""
    # A pipe has no width, and programs that read it need complete lines.
    console = Console(highlight=False, width=None if sys.stdout.isatty() else 160)
    console.print(as_table(report))


def watch(reports: Iterable[Report], *, as_json: bool) -> bool:
    """Show reports until Ctrl-C; return whether the last one was healthy.

    A terminal shows the latest report. Other outputs get a report when a verdict changes. JSON is
    one document per line.
    """
    console, report, previous = Console(highlight=False), None, None
    terminal = console.is_terminal and not console.is_dumb_terminal and not as_json
    try:
        with Live(console=console, auto_refresh=False) if terminal else nullcontext() as table:
            for report in reports:
                if as_json:
                    print(json.dumps(report.as_dict()), flush=True)
                elif table:
                    table.update(as_table(report), refresh=True)
                elif (current := _verdicts(report)) != previous:
                    print(f"{datetime.now():%H:%M:%S}", flush=True)
                    print_table(report)
                    previous = current
    except KeyboardInterrupt:
        pass
    return report is not None and report.status == "healthy"


def as_table(report: Report) -> Group:
    """Return a report as a table with the verdict below it."""
    table = Table(box=None, pad_edge=False)
    for heading in ("", "service", "state", "for", "restarts", "memory"):
        right = heading in ("for", "restarts", "memory")
        table.add_column(heading, justify="right" if right else "left", no_wrap=True)
    table.add_column("detail")
    for row in report.services:
        mark = "[green]✓[/]" if row.healthy else "[red]✗[/]"
        memory = f"{row.memory_bytes / 2**20:.0f} MiB" if row.memory_bytes else ""
        cells = (
            row.name,
            row.state,
            health_report.uptime(row),
            str(row.restarts),
            memory,
            row.detail,
        )
        table.add_row(mark, *map(escape, cells))
    canary = [Text(f"canary: {check.detail}") for check in report.checks if check.name == CANARY]
    return Group(table, *_work_table(report), *canary, Text(f"{report.status} ({report.engine})"))


def _work_table(report: Report) -> list[Text | Table]:
    """Return the state of the work on the status page and when it last finished."""
    if not report.work:
        return []
    table = Table(box=None, pad_edge=False, show_header=False)
    for entry in report.work:
        color, mark = WORK_MARKS.get(entry.state, ("default", "–"))
        age = f"{health_report.age(entry.at)} ago" if entry.at else ""
        state = "ok" if entry.state == "up" else entry.state
        table.add_row(f"[{color}]{mark}[/]", *map(escape, (entry.name, state, age, entry.detail)))
    return [Text(), table]


def _verdicts(report: Report) -> list[tuple[str, bool]]:
    return [(part.name, part.healthy) for part in report.parts]


def progress_lines(report: Report) -> list[Line]:
    """Return the report as progress rows of a start."""
    return [*map(progress_line, report.services), *map(_check_line, report.checks)]


def progress_line(row: health_report.Row) -> Line:
    """Return a service as a progress row."""
    failed = row.state in ("exited", "dead", "restarting")
    return row.name, "ok" if row.healthy else ("bad" if failed else "wait"), row.detail


def _check_line(check: health_report.Check) -> Line:
    return f"{check.name} from here", "ok" if check.healthy else "wait", check.detail
