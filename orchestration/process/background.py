"""Work in the background, shown while it is done."""

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

from orchestration.process.progress import Line, Progress

T = TypeVar("T")
POLL_SECONDS = 0.25


def in_background(work: Callable[[], T]) -> Future[T]:
    """Run `work` beside this; one that hangs ends with the process, nobody waits for it."""
    done: Future[T] = Future()

    def run() -> None:
        try:
            done.set_result(work())
        except BaseException as error:
            done.set_exception(error)

    threading.Thread(target=run, daemon=True).start()
    return done


def show_until_done(work: Future[T], lines: list[Line], progress: Progress) -> T:
    """Show rows while something is done beside; what comes of it, raises what it raises."""
    while not work.done():
        progress.show(lines)
        time.sleep(POLL_SECONDS)
    return work.result()


class Steps:
    """Work in named steps, each shown while it is done and after."""

    def __init__(self, progress: Progress) -> None:
        self.progress = progress
        self.done: list[Line] = []

    def do(self, name: str, work: Callable[[], T]) -> T:
        """Do one; what comes of it, raises what it raises."""
        lines = [*self.done, (name, "wait", "")]
        result = show_until_done(in_background(work), lines, self.progress)
        self.done.append((name, "ok", ""))
        self.progress.show(self.done)
        return result
