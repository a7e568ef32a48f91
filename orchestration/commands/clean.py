"""Disk space given back: what is old of the work, and what was built and is needed no more.

Never what is in use: neither a run that goes on nor the newest of each DAG, no model that stands in
the registry, no image or environment that something runs from.
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
from orchestration.errors import StackError
from orchestration.lifecycle import working_engine
from orchestration.process import runner
from orchestration.process.background import in_background, show_until_done
from orchestration.process.progress import Line, Progress
from orchestration.project import Project

# What ended less than this ago is what somebody may be looking at.
SHORTEST = timedelta(hours=1)
# A first time after years has much to delete.
SECONDS = 1800
# What a module in a service finds: the service, and which one it needs to be up.
MODULES = {
    "Airflow": ("airflow.cleanup", "airflow-apiserver", "postgres"),
    "MLflow": ("mlflow.cleanup", "mlflow", "mlflow"),
}
BUILDS = "former builds"


@dataclass(frozen=True)
class Row:
    """One kind of thing: what it holds, what of it is old (in words too), what is left; in bytes.

    `left` is None where nothing was removed, `error` says why it could not be.
    """

    what: str
    holds: int = 0
    old: int = 0
    told: str = ""
    left: int | None = None
    error: str = ""


def run(project: Project, *, older_than: str, dry_run: bool) -> None:
    """Remove what ended longer ago than the span, and tell what that gave back.

    A dry run only tells. Raises StackError for a span that is none or too short, and, once all
    the rest is done, with what could not be.
    """
    seconds = int(span(older_than).total_seconds())
    _, engine = working_engine(project)
    rows = taken(steps(engine, seconds, remove=not dry_run))
    # A pipe has no width to fit into.
    console = Console(highlight=False, width=None if sys.stdout.isatty() else 160)
    console.print(shown(rows, removed=not dry_run))
    if failed := [f"{row.what}: {row.error}" for row in rows if row.error]:
        raise StackError(*failed, fix="Fix this, then run: inv clean")


def span(text: str) -> timedelta:
    """30d, 12h … as a span of time. Raises StackError for none, and for one under an hour."""
    try:
        found = log_files.span(text)
    except StackError:
        raise StackError(
            f"--older-than {text} is not a duration.", fix="Use 30d, 12h or the like."
        ) from None
    if found < SHORTEST:
        raise StackError(
            f"--older-than {text} would take what has only just ended: 1h is the shortest"
        )
    return found


def steps(engine: Engine, seconds: int, *, remove: bool) -> Mapping[str, Callable[[], list[Row]]]:
    """What is done for each kind of thing, by its name; each may raise StackError."""
    return {
        **{
            what: partial(_by_module, engine, *asked, seconds, remove)
            for what, asked in MODULES.items()
        },
        BUILDS: partial(_builds, engine, remove),
    }


def taken(steps: Mapping[str, Callable[[], list[Row]]]) -> list[Row]:
    """Take each step, whatever became of the others, with progress shown; their rows."""
    rows: list[Row] = []
    done: list[Line] = []
    with Progress() as progress:
        for what, step in steps.items():
            working = in_background(partial(_guarded, what, step))
            found = show_until_done(working, [*done, (what, "wait", "looked at")], progress)
            failed = any(row.error for row in found)
            done.append((what, "bad" if failed else "ok", "see below" if failed else "done"))
            progress.show(done)
            rows += found
    return rows


def _guarded(what: str, step: Callable[[], list[Row]]) -> list[Row]:
    try:
        return step()
    except (StackError, OSError) as error:
        return [Row(what, error=str(error))]


def _by_module(
    engine: Engine, module: str, service: str, needed: str, seconds: int, remove: bool
) -> list[Row]:
    up = {service.name for service in engine.ps() if service.state == "running"}
    if needed not in up:
        raise StackError(f"{needed} is not running.", fix="inv up")
    argv = [*runtime_module(module), str(seconds), *(["apply"] if remove else [])]
    rows = runner.run(engine.command(service, argv), timeout=SECONDS).document()
    return [Row(**row) for row in rows]


def _builds(engine: Engine, remove: bool) -> list[Row]:
    found = engine.builds()
    unneeded = [build for build in found if not build.needed]
    holds, old = (sum(build.bytes for build in some) for some in (found, unneeded))
    told = ", ".join(build.name for build in unneeded) or "none"
    if not (remove and unneeded):
        return [Row(BUILDS, holds, old, told)]
    engine.prune()
    return [Row(BUILDS, holds, old, told, sum(build.bytes for build in engine.builds()))]


def shown(rows: Sequence[Row], *, removed: bool) -> Table:
    """The rows as a table, with a sum; `removed` says whether it tells of the past."""
    table = Table(box=None, pad_edge=False)
    headings = ("holds", "gave back" if removed else "would give back", "holds now")
    table.add_column("")
    for heading in headings if removed else headings[:2]:
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("what")
    for row in rows:
        table.add_row(escape(row.what), *_cells(row, removed), escape(row.error or row.told))
    total = sum(given_back(row) if removed else row.old for row in rows)
    table.add_row("in all", "", size(total), *([""] if removed else []), "")
    return table


def _cells(row: Row, removed: bool) -> list[str]:
    if row.error:
        return [""] * (3 if removed else 2)
    if not removed:
        return [size(row.holds), size(row.old)]
    now = row.holds if row.left is None else row.left
    return [size(row.holds), size(given_back(row)), size(now)]


def given_back(row: Row) -> int:
    """Bytes that are free now; what others wrote meanwhile cannot make it less than nothing."""
    return 0 if row.left is None else max(row.holds - row.left, 0)


def size(count: int) -> str:
    """Bytes in words: 512 B, 3.4 KiB, 128 MiB."""
    number, unit = float(count), "B"
    for larger in ("KiB", "MiB", "GiB", "TiB"):
        if number < 1024:
            break
        number, unit = number / 1024, larger
    return f"{number:.1f} {unit}" if unit != "B" and number < 10 else f"{number:.0f} {unit}"
