"""What the verbs show of services: tables, progress lines, addresses."""

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
    """The report for people."""
    # A pipe has no width to fit into: whatever reads it wants whole lines.
    console = Console(highlight=False, width=None if sys.stdout.isatty() else 160)
    console.print(shown(report))


def watch(reports: Iterable[Report], *, as_json: bool) -> bool:
    """Show reports as they come until Ctrl-C; True when the last one was healthy.

    A terminal shows the newest one; elsewhere it is printed when something changed. JSON is a
    document a line.
    """
    console, report, before = Console(highlight=False), None, None
    terminal = console.is_terminal and not console.is_dumb_terminal and not as_json
    try:
        with Live(console=console, auto_refresh=False) if terminal else nullcontext() as table:
            for report in reports:
                if as_json:
                    print(json.dumps(report.as_dict()), flush=True)
                elif table:
                    table.update(shown(report), refresh=True)
                elif (now := _verdicts(report)) != before:
                    print(f"{datetime.now():%H:%M:%S}", flush=True)
                    print_table(report)
                    before = now
    except KeyboardInterrupt:
        pass
    return report is not None and report.status == "healthy"


def shown(report: Report) -> Group:
    """A report as a table with the verdict below it."""
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
    return Group(table, *_of_work(report), *canary, Text(f"{report.status} ({report.engine})"))


def _of_work(report: Report) -> list[Text | Table]:
    """What the status page says of the work, with its age."""
    if not report.work:
        return []
    table = Table(box=None, pad_edge=False, show_header=False)
    for each in report.work:
        color, mark = WORK_MARKS.get(each.state, ("default", "–"))
        when = f"{health_report.age(each.at)} ago" if each.at else ""
        word = "well" if each.state == "up" else each.state
        table.add_row(f"[{color}]{mark}[/]", *map(escape, (each.name, word, when, each.detail)))
    return [Text(), table]


def _verdicts(report: Report) -> list[tuple[str, bool]]:
    return [(part.name, part.healthy) for part in report.parts]


def progress_lines(report: Report) -> list[Line]:
    """The report as rows of a start in progress."""
    return [*map(line, report.services), *map(_check_line, report.checks)]


def line(row: health_report.Row) -> Line:
    """A service as a row of work in progress."""
    failed = row.state in ("exited", "dead", "restarting")
    return row.name, "ok" if row.healthy else ("bad" if failed else "wait"), row.detail


def _check_line(check: health_report.Check) -> Line:
    return f"{check.name} from here", "ok" if check.healthy else "wait", check.detail
