"""Lock a clone, so that only one command at a time changes it."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import TextIO

from orchestration.errors import StackError


@contextmanager
def acquire(command: str, root: Path) -> Iterator[None]:
    """Lock the clone while a command changes it.

    The kernel releases the lock when the process exits for any reason. Raises StackError if another
    command has the lock or the folder is not writable.
    """
    with _open(root / ".lock") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise StackError(
                f"{file.read().strip() or 'Another command'} is running in this clone.",
                fix="Wait until it has finished, then try again.",
            ) from None
        file.truncate(0)
        file.write(f"inv {command} (process {os.getpid()}, since {datetime.now():%H:%M:%S})\n")
        file.flush()
        yield


def _open(path: Path) -> TextIO:
    try:
        # Not truncated: the file may name the command that has the lock.
        return os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT, 0o644), "r+", encoding="utf-8")
    except OSError as error:
        raise StackError(
            f"{path.parent} is not writable ({error.strerror}).",
            fix="Use a clone that belongs to you.",
        ) from None
