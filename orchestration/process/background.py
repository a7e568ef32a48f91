"""Run work in the background and show its progress."""

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

from orchestration.process.progress import Line, Progress

T = TypeVar("T")
POLL_SECONDS = 0.25


def in_background(work: Callable[[], T]) -> Future[T]:
    """Run `work` in a daemon thread, so that work that hangs does not keep the process alive."""
    future: Future[T] = Future()

    def run() -> None:
        try:
            future.set_result(work())
        except BaseException as error:
            future.set_exception(error)

    threading.Thread(target=run, daemon=True).start()
    return future


def show_until_done(work: Future[T], lines: list[Line], progress: Progress) -> T:
    """Show rows until the work is done, then return its result or raise its exception."""
    while not work.done():
        progress.show(lines)
        time.sleep(POLL_SECONDS)
    return work.result()


class Steps:
    """Work in named steps, each of which has a row of its own."""

    def __init__(self, progress: Progress) -> None:
        self.progress = progress
        self.done: list[Line] = []

    def do(self, name: str, work: Callable[[], T]) -> T:
        """Do one step and return its result or raise its exception."""
        lines = [*self.done, (name, "wait", "")]
        result = show_until_done(in_background(work), lines, self.progress)
        self.done.append((name, "ok", ""))
        self.progress.show(self.done)
        return result
