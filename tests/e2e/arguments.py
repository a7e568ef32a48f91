"""Record the command lines and titles of all processes on this machine for a while."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil

PAUSE_SECONDS, NEW_SECONDS, TITLES_SECONDS = 0.1, 1.0, 3.0


@contextmanager
def record() -> Iterator[set[str]]:
    """Poll all processes, including those in containers, and collect their command lines."""
    command_lines: set[str] = set()
    over = threading.Event()
    thread = threading.Thread(target=_poll, args=(command_lines, over), daemon=True)
    thread.start()
    try:
        yield command_lines
    finally:
        over.set()
        thread.join()


def _poll(command_lines: set[str], over: threading.Event) -> None:
    first_seen: dict[int, float] = {}
    next_full_poll = 0.0
    while not over.wait(PAUSE_SECONDS):
        now = time.monotonic()
        pids = psutil.pids()
        first_seen = {pid: first_seen.get(pid, now) for pid in pids}
        # Only the title of an older process can still change, so it is read less often.
        if full := now >= next_full_poll:
            next_full_poll = now + TITLES_SECONDS
        for pid in pids:
            if full or now - first_seen[pid] < NEW_SECONDS:
                with suppress(OSError):
                    line = Path(f"/proc/{pid}/cmdline").read_bytes()
                    command_lines.add(line.decode(errors="replace"))
