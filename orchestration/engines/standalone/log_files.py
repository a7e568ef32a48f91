"""Print log files the way `docker compose logs` prints those of containers."""

import os
import re
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from selectors import EVENT_READ, DefaultSelector

from rich.console import Console
from rich.text import Text

from orchestration.errors import UsageError
from orchestration.process import runner

DURATION = re.compile(r"^(\d{1,5})([smhd])$")
UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}
TIMESTAMP = re.compile(r"(\d{4})[-/](\d\d)[-/](\d\d)[T ](\d\d):(\d\d):(\d\d)")
CHUNK_BYTES = 2**16
# `tail` polls a file that does not exist yet. The default is once a second.
TAIL = ("tail", "-F", "--sleep-interval=0.25", "--bytes")
COLOURS = [
    f"{bright}{colour}"
    for bright in ("", "bright_")
    for colour in ("cyan", "yellow", "green", "magenta", "blue")
]
PrintLine = Callable[[str, str], None]


def show(files: Mapping[str, Path], *, tail: int, since: str, follow: bool) -> int:
    """Print the last `tail` lines of each file, only those newer than `since` if it is given.

    With `follow` also print new lines, until Ctrl-C. Returns an exit code. Raises UsageError if
    `since` is not a duration such as 10m.
    """
    start = datetime.now(UTC) - parse_duration(since) if since else None
    print_line = _printer(files)
    tails = {name: _tail(file, tail, start) for name, file in files.items()}
    if follow:
        return _follow(files, {name: offset for name, (offset, _) in tails.items()}, print_line)
    for name, (_, lines) in tails.items():
        for line in lines:
            print_line(name, line)
    return 0


def parse_duration(text: str) -> timedelta:
    """Parse a duration such as 10m or 2h; raise UsageError for anything else."""
    match = DURATION.match(text)
    if not match:
        raise UsageError(f"--since {text} is not a duration.", fix="Use 30s, 10m, 2h or 1d.")
    return timedelta(**{UNITS[match[2]]: int(match[1])})


def last_lines(file: Path, count: int, start: datetime | None = None) -> list[str]:
    """Return the last `count` lines of a file from `start` on; none if it does not exist."""
    return _tail(file, count, start)[1]


def _tail(file: Path, count: int, start: datetime | None) -> tuple[int, list[str]]:
    """Return the number of bytes before the last lines, and these lines."""
    try:
        with file.open("rb") as stream:
            lines = deque(_lines_since(stream, start), count)
            end = stream.tell()  # codespell:ignore tell
    except FileNotFoundError:
        return 0, []
    offset = end - sum(map(len, lines))
    return offset, [line.decode(errors="replace").rstrip("\r\n") for line in lines]


def _follow(files: Mapping[str, Path], offsets: Mapping[str, int], print_line: PrintLine) -> int:
    """Print each file from an offset on, then new lines; `tail -F` follows rotated files."""
    partial = dict.fromkeys(files, b"")
    try:
        # A `tail` ends when its pipe is closed, however this process ends.
        with ExitStack() as streams, DefaultSelector() as selector:
            for name, file in files.items():
                command = runner.Command((*TAIL, f"+{offsets[name] + 1}", str(file)))
                stream = streams.enter_context(runner.stream_output(command))
                selector.register(stream, EVENT_READ, name)
            while selector.get_map():
                for key, _ in selector.select():
                    if not (chunk := os.read(key.fd, CHUNK_BYTES)):
                        selector.unregister(key.fileobj)
                    *lines, partial[key.data] = (partial[key.data] + chunk).split(b"\n")
                    for line in lines:
                        print_line(key.data, line.decode(errors="replace"))
    except KeyboardInterrupt:
        return runner.INTERRUPTED
    return 0


def _printer(names: Iterable[str]) -> PrintLine:
    """Return a function that prints a line after its service's name.

    The name is in colour on a terminal unless NO_COLOR is set.
    """
    console = Console(force_terminal=sys.stdout.isatty())
    width = max(map(len, names), default=0)
    prefixes = {}
    for number, name in enumerate(names):
        with console.capture() as prefix:
            colour = COLOURS[number % len(COLOURS)]
            console.print(Text(f"{name:<{width}} | ", colour), end="", soft_wrap=True)
        prefixes[name] = prefix.get()

    def print_line(name: str, line: str) -> None:
        # A terminal that does not use UTF-8 cannot print every character.
        encoding = sys.stdout.encoding or "utf-8"
        text = line.encode(encoding, "replace").decode(encoding)
        # A carriage return of a progress bar would overwrite the service's name.
        for part in re.split(r"\r+", text.rstrip("\r")):
            print(f"{prefixes[name]}{part}", flush=True)

    return print_line


def _lines_since(lines: Iterable[bytes], start: datetime | None) -> Iterator[bytes]:
    # A line without a timestamp, as in a traceback, belongs to the one above it.
    include = start is None
    for line in lines:
        if start and (time := _timestamp(line)):
            include = time >= start
        if include:
            yield line


def _timestamp(line: bytes) -> datetime | None:
    if not (match := TIMESTAMP.search(line[:60].decode(errors="replace"))):
        return None
    year, month, day, hour, minute, second = map(int, match.groups())
    try:
        return datetime(year, month, day, hour, minute, second, tzinfo=UTC)
    except ValueError:
        # It looks like a time but is not valid, such as 00:61:00 or the 31st of June.
        return None
