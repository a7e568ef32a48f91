"""What the scripts of `inv clean` share: steps that fail alone, rows that tell, sizes on disk."""

import json
import os
import sys
from collections.abc import Callable, Iterable, Mapping
from contextlib import redirect_stdout
from dataclasses import asdict, dataclass
from pathlib import Path


@dataclass(frozen=True)
class Row:
    """What one kind of thing holds and what of it is old; sizes in bytes.

    `left` is what it holds afterwards, None where nothing was removed.
    """

    what: str
    holds: int
    old: int
    told: str
    left: int | None = None


def run(steps: Mapping[str, Callable[[], Row]]) -> None:
    """Take each step, whatever becomes of the others; print their rows as one line of JSON."""
    rows = []
    for what, step in steps.items():
        try:
            # What the service's own code prints would stand among the rows.
            with redirect_stdout(sys.stderr):
                rows.append(asdict(step()))
        except Exception as error:
            reason = str(error).strip().splitlines()
            rows.append({"what": what, "error": reason[0] if reason else type(error).__name__})
    sys.stderr.flush()
    print(json.dumps(rows), flush=True)


def count(number: int, noun: str) -> str:
    """1 run, 2 runs."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def allocated(paths: Iterable[Path]) -> int:
    """Bytes that files and all below folders take on the disk; what is gone takes none."""
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
