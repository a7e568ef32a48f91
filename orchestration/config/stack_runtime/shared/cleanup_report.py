"""Shared code of the `inv clean` scripts: independent steps, result rows, sizes on disk."""

import json
import os
import sys
from collections.abc import Callable, Iterable, Mapping
from contextlib import redirect_stdout
from dataclasses import asdict, dataclass
from pathlib import Path


@dataclass(frozen=True)
class Row:
    """Result for one kind of data: its total and old size in bytes, and a summary in words.

    `left` is the size afterwards, or None if nothing was removed.
    """

    what: str
    holds: int
    old: int
    summary: str
    left: int | None = None


def run(steps: Mapping[str, Callable[[], Row]]) -> None:
    """Run every step, even if others fail, and print their rows as one line of JSON."""
    rows = []
    for what, step in steps.items():
        try:
            # Keep the output of the service's own code out of the rows.
            with redirect_stdout(sys.stderr):
                rows.append(asdict(step()))
        except Exception as error:
            reason = str(error).strip().splitlines()
            rows.append({"what": what, "error": reason[0] if reason else type(error).__name__})
    sys.stderr.flush()
    print(json.dumps(rows), flush=True)


def count(number: int, noun: str) -> str:
    """Return a number with its noun: "1 run", "2 runs"."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def allocated(paths: Iterable[Path]) -> int:
    """Return the bytes on disk of files and whole folders; missing files count as 0."""
    total = 0
    for path in paths:
        for folder, _, names in os.walk(path):
            total += sum(_blocks(os.path.join(folder, name)) for name in names)
        total += 0 if path.is_dir() else _blocks(path)
    return total


def _blocks(path: str | Path) -> int:
    try:
        return os.lstat(path).st_blocks * 512
    except FileNotFoundError:
        return 0
