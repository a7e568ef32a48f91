"""Logs of tasks that their bucket does not hold, or not all of: a small file for each."""

import fcntl
import hashlib
import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

# Looked at again so long after the bucket failed, and where its task may still run.
REFUSED_SECONDS, AGAIN_SECONDS = 30, 120
AT_ONCE = 50


class Waiting:
    """Their files, in a folder that all processes share."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def get(self, path: str) -> dict[str, Any] | None:
        """What is known of one that waits: `path`, `why`, and the bytes that were `sent`."""
        with suppress(OSError, ValueError):
            known: dict[str, Any] = json.loads(self._file(path).read_text("utf-8"))
            return known
        return None

    def add(self, path: str, why: str = "", sent: int = -1) -> None:
        """Remember one, from now on; never raises."""
        with suppress(OSError):
            self.folder.mkdir(mode=0o775, exist_ok=True)
            text = json.dumps({"path": path, "why": why, "sent": sent})
            self._file(path).write_text(text, encoding="utf-8")

    def discard(self, path: str) -> None:
        """All of it is there, or it is gone."""
        with suppress(OSError):
            self._file(path).unlink(missing_ok=True)

    @contextmanager
    def taken(self) -> Iterator[list[dict[str, Any]]]:
        """Those that were not looked at for a while, for one process at a time."""
        found = sorted((one.stat().st_mtime, one) for one in self.folder.glob("*.json"))
        if not found:
            yield []
            return
        with (self.folder / "lock").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                found = []
            yield list(self._due(found))

    def _due(self, found: list[tuple[float, Path]]) -> Iterator[dict[str, Any]]:
        for looked_at, file in found[:AT_ONCE]:
            known = json.loads(file.read_text("utf-8"))
            if time.time() - looked_at > (REFUSED_SECONDS if known["why"] else AGAIN_SECONDS):
                # Behind the others, whatever comes of it.
                os.utime(file)
                yield known

    def _file(self, path: str) -> Path:
        # A path may be longer than a name.
        return self.folder / f"{hashlib.sha256(path.encode()).hexdigest()}.json"
