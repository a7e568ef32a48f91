"""Every argument list and process title that is seen on this machine while something goes on."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil

PAUSE_SECONDS, NEW_SECONDS, TITLES_SECONDS = 0.1, 1.0, 3.0


@contextmanager
def seen() -> Iterator[set[str]]:
    """Look at every process again and again; in containers too, where they are of this kernel."""
    found: set[str] = set()
    over = threading.Event()
    looking = threading.Thread(target=_look, args=(found, over), daemon=True)
    looking.start()
    try:
        yield found
    finally:
        over.set()
        looking.join()


def _look(found: set[str], over: threading.Event) -> None:
    first: dict[int, float] = {}
    again = 0.0
    while not over.wait(PAUSE_SECONDS):
        now = time.monotonic()
        alive = psutil.pids()
        first = {pid: first.get(pid, now) for pid in alive}
        # Of one that has been there for a while only the title may change.
        all_of_them, again = (True, now + TITLES_SECONDS) if now >= again else (False, again)
        for pid in alive:
            if all_of_them or now - first[pid] < NEW_SECONDS:
                with suppress(OSError):
                    found.add(Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace"))
