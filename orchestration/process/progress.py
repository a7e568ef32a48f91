"""Show progress: a live table on a terminal, otherwise a line for each change."""

import time
from collections.abc import Callable
from types import TracebackType

from rich.console import Console
from rich.live import Live
from rich.markup import escape
from rich.table import Table

Line = tuple[str, str, str]
STYLES = {"ok": "green", "wait": "yellow", "bad": "red"}
MARKS = {"ok": "✓", "wait": "…", "bad": "✗"}
# Without a line for minutes, a log looks as if the command hangs.
HEARTBEAT_SECONDS = 30


class Progress:
    """Rows of (name, kind, detail) with their duration; kind is ok, wait or bad."""

    def __init__(
        self, console: Console | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.console = console or Console(highlight=False)
        self.clock = clock
        self.started = clock()
        self.shown: dict[str, Line] = {}
        self.settled: dict[str, float] = {}
        self.printed: dict[str, tuple[float, str]] = {}
        # A dumb terminal cannot move the cursor back to overwrite a line.
        self.has_table = self.console.is_terminal and not self.console.is_dumb_terminal
        self.live = Live(console=self.console, refresh_per_second=4)

    def __enter__(self) -> "Progress":
        if self.has_table:
            self.live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self.has_table:
            self.live.stop()

    @property
    def elapsed(self) -> float:
        """The seconds since the start."""
        return self.clock() - self.started

    def show(self, lines: list[Line]) -> None:
        """Show the current state of all rows.

        Without a live table a row is printed if its kind has changed. A waiting row is also printed
        if its detail has changed and its last line is HEARTBEAT_SECONDS old.
        """
        changed = [line for line in lines if self.shown.get(line[0], (None, None))[1] != line[1]]
        for name, kind, _ in changed:
            self.settled[name] = self.elapsed
            if kind == "wait":
                del self.settled[name]
        self.shown = {line[0]: line for line in lines}
        if self.has_table:
            self.live.update(self._table(lines))
        else:
            self._print([line for line in lines if line in changed or self._is_heartbeat(line)])

    def _is_heartbeat(self, line: Line) -> bool:
        name, kind, detail = line
        time_printed, last_detail = self.printed[name]
        is_due = self.elapsed - time_printed >= HEARTBEAT_SECONDS
        return kind == "wait" and detail != last_detail and is_due

    def _print(self, lines: list[Line]) -> None:
        for name, kind, detail in lines:
            self.printed[name] = self.elapsed, detail
            line = f"{self.elapsed:6.1f} s  {MARKS[kind]} {name:<22} {detail}".rstrip()
            print(line, file=self.console.file, flush=True)

    def _table(self, lines: list[Line]) -> Table:
        table = Table.grid(padding=(0, 2))
        for name, kind, detail in lines:
            seconds = self.settled.get(name, self.elapsed)
            mark = f"[{STYLES[kind]}]{MARKS[kind]}[/]"
            table.add_row(mark, escape(name), f"[dim]{seconds:5.1f} s[/]", escape(detail))
        return table
