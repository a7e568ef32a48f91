"""Long work shown as it goes: a live table on a terminal, plain lines of what changed elsewhere."""

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


class Progress:
    """Rows of (name, kind, detail), kind being ok, wait or bad, with the seconds they took."""

    def __init__(
        self, console: Console | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.console = console or Console(highlight=False)
        self.clock = clock
        self.started = clock()
        self.shown: dict[str, Line] = {}
        self.settled: dict[str, float] = {}
        self.live = Live(console=self.console, refresh_per_second=4)

    def __enter__(self) -> "Progress":
        if self.console.is_terminal:
            self.live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self.console.is_terminal:
            self.live.stop()

    @property
    def elapsed(self) -> float:
        """Seconds since the start."""
        return self.clock() - self.started

    def show(self, lines: list[Line]) -> None:
        """Show the present state of all rows."""
        changed = [line for line in lines if self.shown.get(line[0], (None, None))[1] != line[1]]
        for name, kind, _ in changed:
            self.settled[name] = self.elapsed
            if kind == "wait":
                del self.settled[name]
        self.shown = {line[0]: line for line in lines}
        if self.console.is_terminal:
            self.live.update(self._table(lines))
        else:
            for name, kind, detail in changed:
                line = f"{self.elapsed:6.1f} s  {MARKS[kind]} {name:<22} {detail}"
                print(line, file=self.console.file, flush=True)

    def _table(self, lines: list[Line]) -> Table:
        table = Table.grid(padding=(0, 2))
        for name, kind, detail in lines:
            seconds = self.settled.get(name, self.elapsed)
            mark = f"[{STYLES[kind]}]{MARKS[kind]}[/]"
            table.add_row(mark, escape(name), f"[dim]{seconds:5.1f} s[/]", escape(detail))
        return table
