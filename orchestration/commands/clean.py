"""`inv clean`: remove old runs with their logs and data, and inactive images or environments.

Nothing in use is removed. That includes running runs, the newest run of each DAG, registered models
and the images or environments of services.
"""

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import partial

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from orchestration.engines.base import Engine, runtime_module
from orchestration.engines.standalone import log_files
from orchestration.errors import StackError, UsageError
from orchestration.lifecycle import working_engine
from orchestration.process import runner
from orchestration.process.background import in_background, show_until_done
from orchestration.process.progress import Line, Progress
from orchestration.project import Project

# Keeps runs that somebody may be looking at.
SHORTEST = timedelta(hours=1)
# The first run after years has much to delete.
SECONDS = 1800
# The modules that clean up, the service that runs each, and the service that must be up for it.
MODULES = {
    "Airflow": ("airflow.cleanup", "airflow-apiserver", "postgres"),
    "MLflow": ("mlflow.cleanup", "mlflow", "mlflow"),
}
BUILDS = "builds"


@dataclass(frozen=True)
class Row:
    """Result for one kind of data: its total and old size in bytes, and a summary in words.

    `left` is the size afterwards, or None if nothing was removed. `error` explains a failure.
    """

    what: str
    holds: int = 0
    old: int = 0
    summary: str = ""
    left: int | None = None
    error: str = ""


def run(project: Project, *, older_than: str, dry_run: bool) -> None:
    """Remove what is older than this age, and print the freed space. A dry run only lists it.

    Raises UsageError for an invalid or too short age. Failed steps are raised at the end, after all
    others have run.
    """
    seconds = int(parse_age(older_than).total_seconds())
    _, engine = working_engine(project)
    rows = run_steps(steps(engine, seconds, remove=not dry_run))
    # A pipe has no width, so lines are not wrapped to 80 columns there.
    console = Console(highlight=False, width=None if sys.stdout.isatty() else 160)
    console.print(as_table(rows, removed=not dry_run))
    if failed := [f"{row.what}: {row.error}" for row in rows if row.error]:
        raise StackError(*failed, fix="Fix this, then run: inv clean")


def parse_age(text: str) -> timedelta:
    """Parse an age such as 30d or 12h. Raises UsageError if it is invalid or below an hour."""
    try:
        age = log_files.parse_duration(text)
    except StackError:
        raise UsageError(f"--older-than {text} is not a duration.", fix="Use 12h or 30d.") from None
    if age < SHORTEST:
        raise UsageError(f"--older-than {text} is too short.", fix="Use 1h or more.")
    return age


def steps(engine: Engine, seconds: int, *, remove: bool) -> Mapping[str, Callable[[], list[Row]]]:
    """Return the clean-up steps by name. Each returns its rows and may raise StackError."""
    modules = {
        name: partial(_run_module, engine, *options, seconds, remove)
        for name, options in MODULES.items()
    }
    return {**modules, BUILDS: partial(_builds, engine, remove)}


def run_steps(steps: Mapping[str, Callable[[], list[Row]]]) -> list[Row]:
    """Run every step, even if others fail, show the progress and return all rows."""
    rows: list[Row] = []
    done: list[Line] = []
    with Progress() as progress:
        for what, step in steps.items():
            work = in_background(partial(_error_as_row, what, step))
            result = show_until_done(work, [*done, (what, "wait", "in progress")], progress)
            failed = any(row.error for row in result)
            done.append((what, "bad" if failed else "ok", "see below" if failed else "done"))
            progress.show(done)
            rows += result
    return rows


def _error_as_row(what: str, step: Callable[[], list[Row]]) -> list[Row]:
    try:
        return step()
    except (StackError, OSError) as error:
        return [Row(what, error=str(error))]


def _run_module(
    engine: Engine, module: str, service: str, needed: str, seconds: int, remove: bool
) -> list[Row]:
    running = {service.name for service in engine.ps() if service.state == "running"}
    if needed not in running:
        raise StackError(f"{needed} is not running.", fix="inv up")
    argv = [*runtime_module(module), str(seconds), *(["apply"] if remove else [])]
    rows = runner.run(engine.command(service, argv), timeout=SECONDS).document()
    return [Row(**row) for row in rows]


def _builds(engine: Engine, remove: bool) -> list[Row]:
    builds = engine.builds()
    inactive = [build for build in builds if not build.needed]
    size, old = (sum(build.bytes for build in some) for some in (builds, inactive))
    summary = ", ".join(build.name for build in inactive) or "none inactive"
    if not (remove and inactive):
        return [Row(BUILDS, size, old, summary)]
    engine.prune()
    return [Row(BUILDS, size, old, summary, sum(build.bytes for build in engine.builds()))]


def as_table(rows: Sequence[Row], *, removed: bool) -> Table:
    """Return the rows as a table with a total: freed space if `removed`, else the old data."""
    table = Table(box=None, pad_edge=False)
    headings = ("size", "freed" if removed else "would be freed", "size now")
    table.add_column("")
    for heading in headings if removed else headings[:2]:
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("details")
    for row in rows:
        table.add_row(escape(row.what), *_cells(row, removed), escape(row.error or row.summary))
    total = sum(freed(row) if removed else row.old for row in rows)
    table.add_row("total", "", size_text(total), *([""] if removed else []), "")
    return table


def _cells(row: Row, removed: bool) -> list[str]:
    if row.error:
        return [""] * (3 if removed else 2)
    if not removed:
        return [size_text(row.holds), size_text(row.old)]
    now = row.holds if row.left is None else row.left
    return [size_text(row.holds), size_text(freed(row)), size_text(now)]


def freed(row: Row) -> int:
    """Return the freed bytes; 0 if services wrote more meanwhile than was removed."""
    return 0 if row.left is None else max(row.holds - row.left, 0)


def size_text(count: int) -> str:
    """Return a number of bytes as text: 512 B, 3.4 KiB, 128 MiB."""
    number, unit = float(count), "B"
    for larger in ("KiB", "MiB", "GiB", "TiB"):
        if number < 1024:
            break
        number, unit = number / 1024, larger
    return f"{number:.1f} {unit}" if unit != "B" and number < 10 else f"{number:.0f} {unit}"
