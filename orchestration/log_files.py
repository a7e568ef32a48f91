"""Log files shown as `docker compose logs` shows containers."""

import re
from collections import deque
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path

from orchestration import StackError, shell

SINCE = re.compile(r"^(\d{1,5})([smhd])$")
UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}
STAMP = re.compile(r"(\d{4})[-/](\d\d)[-/](\d\d)[T ](\d\d):(\d\d):(\d\d)")


def show(files: Mapping[str, Path], *, tail: int, since: str, follow: bool) -> int:
    """Print the last `tail` lines of each file, only those newer than `since` if it is given.

    Raises StackError for a `since` that is no span such as 10m. Returns an exit code.
    """
    start = datetime.now(UTC) - span(since) if since else None
    width = max(map(len, files), default=0)
    for name, file in files.items():
        for line in last_lines(file, tail, start):
            print(f"{name:<{width}} | {line}", flush=True)
    if not follow:
        return 0
    return shell.show(shell.Command(("tail", "-n", "0", "-F", *map(str, files.values()))))


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
    if not file.exists():
        return []
    with file.open(errors="replace") as lines:
        return [line.rstrip("\n") for line in deque(_newer(lines, start), maxlen=count)]


def _newer(lines: Iterator[str], start: datetime | None) -> Iterator[str]:
    # A line without a time of its own, as in a traceback, belongs to the one above it.
    wanted = start is None
    for line in lines:
        if start and (moment := _moment(line)):
            wanted = moment >= start
        if wanted:
            yield line


def _moment(line: str) -> datetime | None:
    stamp = STAMP.search(line[:60])
    try:
        return datetime(*map(int, stamp.groups()), tzinfo=UTC) if stamp else None
    except ValueError:
        # Shaped like a time, but none: 00:61:00, the 31st of June.
        return None
