"""Log files shown as `docker compose logs` shows containers."""

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

from orchestration.errors import StackError
from orchestration.process import runner

SINCE = re.compile(r"^(\d{1,5})([smhd])$")
UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}
STAMP = re.compile(r"(\d{4})[-/](\d\d)[-/](\d\d)[T ](\d\d):(\d\d):(\d\d)")
CHUNK_BYTES = 2**16
# A file that did not exist at first is polled, once a second by default.
TAIL = ("tail", "-F", "--sleep-interval=0.25", "--bytes")
COLOURS = [
    f"{bright}{colour}"
    for bright in ("", "bright_")
    for colour in ("cyan", "yellow", "green", "magenta", "blue")
]
Show = Callable[[str, str], None]


def show(files: Mapping[str, Path], *, tail: int, since: str, follow: bool) -> int:
    """Print the last `tail` lines of each file, only those newer than `since` if it is given.

    With `follow` also print new lines, until Ctrl-C. Raises StackError for a `since` that is no
    span such as 10m. Returns an exit code.
    """
    start = datetime.now(UTC) - span(since) if since else None
    show_line = _printer(files)
    last = {name: _last(file, tail, start) for name, file in files.items()}
    if follow:
        return _follow(files, {name: where for name, (where, _) in last.items()}, show_line)
    for name, (_, lines) in last.items():
        for line in lines:
            show_line(name, line)
    return 0


def span(text: str) -> timedelta:
    """10m, 2h … as a span of time.

    Raises StackError for anything else.
    """
    found = SINCE.match(text)
    if not found:
        raise StackError(f"--since {text} is no span: 30s, 10m, 2h or 1d")
    return timedelta(**{UNITS[found[2]]: int(found[1])})


def last_lines(file: Path, count: int, start: datetime | None = None) -> list[str]:
    """Return the last `count` lines of a file from `start` on; none if it does not exist."""
    return _last(file, count, start)[1]


def _last(file: Path, count: int, start: datetime | None) -> tuple[int, list[str]]:
    """Return the number of bytes before the last lines, and these lines."""
    try:
        with file.open("rb") as stream:
            lines = deque(_newer(stream, start), count)
            where = stream.tell() - sum(map(len, lines))
    except FileNotFoundError:
        return 0, []
    return where, [line.decode(errors="replace").rstrip("\r\n") for line in lines]


def _follow(files: Mapping[str, Path], starts: Mapping[str, int], show_line: Show) -> int:
    """Print each file from a byte on, and new lines: `tail -F` reads on through rotation."""
    unfinished = dict.fromkeys(files, b"")
    try:
        # A `tail` ends when its pipe is closed, however this process ends.
        with ExitStack() as started, DefaultSelector() as selector:
            for name, file in files.items():
                command = runner.Command((*TAIL, f"+{starts[name] + 1}", str(file)))
                stream = started.enter_context(runner.reading(command))
                selector.register(stream, EVENT_READ, name)
            while selector.get_map():
                for key, _ in selector.select():
                    if not (chunk := os.read(key.fd, CHUNK_BYTES)):
                        selector.unregister(key.fileobj)
                    *lines, unfinished[key.data] = (unfinished[key.data] + chunk).split(b"\n")
                    for line in lines:
                        show_line(key.data, line.decode(errors="replace"))
    except KeyboardInterrupt:
        return runner.INTERRUPTED
    return 0


def _printer(names: Iterable[str]) -> Show:
    """Print a line after its service's name, in colour on a terminal unless NO_COLOR is set."""
    console = Console(force_terminal=sys.stdout.isatty())
    width = max(map(len, names), default=0)
    heads = {}
    for number, name in enumerate(names):
        with console.capture() as head:
            colour = COLOURS[number % len(COLOURS)]
            console.print(Text(f"{name:<{width}} | ", colour), end="", soft_wrap=True)
        heads[name] = head.get()

    def show_line(name: str, line: str) -> None:
        # A terminal that is not UTF-8 cannot take every character.
        encoding = sys.stdout.encoding or "utf-8"
        text = line.encode(encoding, "replace").decode(encoding)
        # A lone carriage return, as of a progress bar, would overwrite the service's name.
        for part in re.split(r"\r+", text.rstrip("\r")):
            print(f"{heads[name]}{part}", flush=True)

    return show_line


def _newer(lines: Iterable[bytes], start: datetime | None) -> Iterator[bytes]:
    # A line without a time of its own, as in a traceback, belongs to the one above it.
    wanted = start is None
    for line in lines:
        if start and (moment := _moment(line)):
            wanted = moment >= start
        if wanted:
            yield line


def _moment(line: bytes) -> datetime | None:
    if not (stamp := STAMP.search(line[:60].decode(errors="replace"))):
        return None
    year, month, day, hour, minute, second = map(int, stamp.groups())
    try:
        return datetime(year, month, day, hour, minute, second, tzinfo=UTC)
    except ValueError:
        # Shaped like a time, but none: 00:61:00, the 31st of June.
        return None
