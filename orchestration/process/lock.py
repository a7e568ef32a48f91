"""One verb at a time changes a clone: a lock that tells who holds it and ends with its holder."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import TextIO

from orchestration.errors import StackError


@contextmanager
def at_work(verb: str, root: Path) -> Iterator[None]:
    """Hold the clone's lock while a verb changes it.

    The kernel lets it go with the process, however that ends. Raises StackError when another verb
    holds it, or when nothing can be written here.
    """
    with _opened(root / ".lock") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise StackError(
                f"{file.read().strip() or 'another verb'} is at work in this clone: "
                "wait until it has ended, then run this again"
            ) from None
        file.truncate(0)
        file.write(f"inv {verb} (process {os.getpid()}, since {datetime.now():%H:%M:%S})\n")
        file.flush()
        yield


def _opened(path: Path) -> TextIO:
    try:
        # Opened without being emptied: what stands in it may tell who holds it.
        return os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT, 0o644), "r+", encoding="utf-8")
    except OSError as error:
        raise StackError(
            f"{path.parent} cannot be written to ({error.strerror}): "
            "work in a clone that belongs to you"
        ) from None
