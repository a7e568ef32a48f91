"""Record the task logs that are missing or incomplete in their bucket: one small file for each."""

import fcntl
import hashlib
import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

# Seconds until a log is checked again: after the bucket failed, and while its task may still run.
REFUSED_SECONDS, AGAIN_SECONDS = 30, 120
BATCH_SIZE = 50


class PendingLogs:
    """The records of pending logs, in a folder that all processes share."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def get(self, path: str) -> dict[str, Any] | None:
        """Return the record of a pending log: `path`, `why`, and the bytes that were `sent`."""
        with suppress(OSError, ValueError):
            record: dict[str, Any] = json.loads(self._file(path).read_text("utf-8"))
            return record
        return None

    def add(self, path: str, why: str = "", sent: int = -1) -> None:
        """Add or update the record of a log; never raises."""
        with suppress(OSError):
            self.folder.mkdir(mode=0o775, exist_ok=True)
            text = json.dumps({"path": path, "why": why, "sent": sent})
            self._file(path).write_text(text, encoding="utf-8")

    def discard(self, path: str) -> None:
        """Remove the record of a log that was uploaded completely or no longer exists."""
        with suppress(OSError):
            self._file(path).unlink(missing_ok=True)

    @contextmanager
    def due(self) -> Iterator[list[dict[str, Any]]]:
        """Lock the records and return those that are due; empty if another process has the lock."""
        files = sorted((file.stat().st_mtime, file) for file in self.folder.glob("*.json"))
        if not files:
            yield []
            return
        with (self.folder / "lock").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                files = []
            yield list(self._due_records(files))

    def _due_records(self, files: list[tuple[float, Path]]) -> Iterator[dict[str, Any]]:
        for checked_at, file in files[:BATCH_SIZE]:
            record = json.loads(file.read_text("utf-8"))
            if time.time() - checked_at > (REFUSED_SECONDS if record["why"] else AGAIN_SECONDS):
                # The new time moves it behind the others, whatever the result.
                os.utime(file)
                yield record

    def _file(self, path: str) -> Path:
        # The name is a hash because a path may be longer than a file name.
        return self.folder / f"{hashlib.sha256(path.encode()).hexdigest()}.json"
