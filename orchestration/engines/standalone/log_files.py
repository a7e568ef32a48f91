"""Log files shown as `docker compose logs` shows containers."""

import os
import re
import sys
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import BinaryIO

from rich.console import Console
from rich.text import Text

from orchestration.errors import StackError

SINCE = re.compile(r"^(\d{1,5})([smhd])$")
UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}
STAMP = re.compile(r"(\d{4})[-/](\d\d)[-/](\d\d)[T ](\d\d):(\d\d):(\d\d)")
POLL_SECONDS = 0.25
BLOCK_BYTES = 2**16
COLOURS = [
    f"{bright}{colour}"
    for bright in ("", "bright_")
    for colour in ("cyan", "yellow", "green", "magenta", "blue")
]
Say = Callable[[str, str], None]


def show(
    files: Mapping[str, Path], *, tail: int, since: str, follow: bool,
    sleep: Callable[[float], None] = time.sleep,
) -> int:  # fmt: skip
    """Print the last `tail` lines of each file, only those newer than `since` if it is given.

    With `follow` what is written from then on too, until Ctrl-C. Raises StackError for a `since`
    that is no span such as 10m. Returns an exit code.
    """
    start = datetime.now(UTC) - span(since) if since else None
    say = _printer(files)
    with ExitStack() as opened:
        logs = {name: opened.enter_context(closing(Log(file))) for name, file in files.items()}
        for name, log in logs.items():
            for line in log.last(tail, start, unfinished=not follow):
                say(name, line)
        return _follow(logs, say, sleep) if follow else 0


def span(text: str) -> timedelta:
    """10m, 2h … as a span of time.

    Raises StackError for anything else.
    """
    found = SINCE.match(text)
    if not found:
        raise StackError(f"--since {text} is no span: 30s, 10m, 2h or 1d")
    return timedelta(**{UNITS[found[2]]: int(found[1])})


def last_lines(file: Path, count: int, start: datetime | None = None) -> list[str]:
    """The last `count` lines of a file (none if it does not exist), from `start` on."""
    with closing(Log(file)) as log:
        return log.last(count, start)


class Log:
    """One log file read from its end on, through rotation; it may not exist yet."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self.stream: BinaryIO | None = None
        # What was written of a line that has not ended yet.
        self.rest = b""

    def last(self, count: int, start: datetime | None, *, unfinished: bool = True) -> list[str]:
        """The last `count` lines from `start` on, one that has not ended among them if wanted."""
        if not (stream := self._open()):
            return []
        # What is older than `start` is known only by reading it.
        blocks: Iterable[bytes] = stream if start else [_end(stream, count)]
        lines = (line for block in blocks for line in self._lines(block))
        return list(deque(_newer(self._ended(lines) if unfinished else lines, start), count))

    def more(self) -> Iterator[str]:
        """The lines that ended since the last look, those of a file that took its place too."""
        # Asked before reading: once replaced, the old file gets no more lines that could be lost.
        replaced = self._is_replaced()
        if self.stream:
            if os.fstat(self.stream.fileno()).st_size < self.stream.tell():
                # Emptied by its writer: what there was of a line will not be ended.
                yield from self._ended([])
                self.stream.seek(0)
            yield from self._lines(self.stream.read())
        if replaced and (stream := self._open()):
            yield from self._lines(stream.read())

    def close(self) -> None:
        """Let go of the file."""
        if self.stream:
            self.stream.close()

    def _is_replaced(self) -> bool:
        if not self.stream:
            return True
        try:
            return not os.path.samestat(self.file.stat(), os.fstat(self.stream.fileno()))
        except FileNotFoundError:
            # Between the old one's renaming and the new one's first line.
            return False

    def _open(self) -> BinaryIO | None:
        try:
            stream = self.file.open("rb")
        except FileNotFoundError:
            return None
        self.close()
        self.stream = stream
        return stream

    def _lines(self, block: bytes) -> list[str]:
        # supervisord rotates by size, in the middle of a line: its rest begins the next file.
        whole, end, self.rest = (self.rest + block).rpartition(b"\n")
        if not end:
            return []
        # A lone carriage return, as of a progress bar, would overwrite the service's name.
        return re.split(r"\r\n|\r|\n", whole.removesuffix(b"\r").decode(errors="replace"))

    def _ended(self, lines: Iterable[str]) -> Iterator[str]:
        yield from lines
        if self.rest:
            yield from self._lines(b"\n")


def _follow(logs: Mapping[str, Log], say: Say, sleep: Callable[[float], None]) -> int:
    try:
        while True:
            for name, log in logs.items():
                for line in log.more():
                    say(name, line)
            sleep(POLL_SECONDS)
    except KeyboardInterrupt:
        return 130


def _printer(names: Iterable[str]) -> Say:
    """Prints a line behind its service's name, in colour on a terminal unless NO_COLOR is set."""
    console = Console(force_terminal=sys.stdout.isatty())
    width = max(map(len, names), default=0)
    heads = {}
    for number, name in enumerate(names):
        with console.capture() as head:
            colour = COLOURS[number % len(COLOURS)]
            console.print(Text(f"{name:<{width}} | ", colour), end="", soft_wrap=True)
        heads[name] = head.get()

    def say(name: str, line: str) -> None:
        # A terminal that is not UTF-8 cannot take every character.
        encoding = sys.stdout.encoding or "utf-8"
        print(f"{heads[name]}{line}".encode(encoding, "replace").decode(encoding), flush=True)

    return say


def _end(stream: BinaryIO, count: int) -> bytes:
    """The end of a file with at least its last `count` lines; it may begin inside a line."""
    end, size = stream.seek(0, os.SEEK_END), BLOCK_BYTES
    while True:
        start = max(0, end - size)
        stream.seek(start)
        block = stream.read(end - start)
        if start == 0 or block.count(b"\n") > count:
            return block
        size *= 4


def _newer(lines: Iterable[str], start: datetime | None) -> Iterator[str]:
    # A line without a time of its own, as in a traceback, belongs to the one above it.
    wanted = start is None
    for line in lines:
        if start and (moment := _moment(line)):
            wanted = moment >= start
        if wanted:
            yield line


def _moment(line: str) -> datetime | None:
    if not (stamp := STAMP.search(line[:60])):
        return None
    year, month, day, hour, minute, second = map(int, stamp.groups())
    try:
        return datetime(year, month, day, hour, minute, second, tzinfo=UTC)
    except ValueError:
        # Shaped like a time, but none: 00:61:00, the 31st of June.
        return None
