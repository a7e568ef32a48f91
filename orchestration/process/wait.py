"""Waiting for something to become true, with a limit."""

import time
from collections.abc import Callable, Iterator
from typing import TypeVar

T = TypeVar("T")


def attempts(seconds: float, pause: float) -> Iterator[None]:
    """Yield again and again with `pause` seconds in between, the last time after `seconds`."""
    deadline = time.monotonic() + seconds
    while True:
        yield
        if time.monotonic() >= deadline:
            return
        time.sleep(pause)


def wait_until(
    ready: Callable[[], T], seconds: float, *, pause: float, retry: tuple[type[Exception], ...] = ()
) -> T | None:
    """Call `ready` until it returns something true, and return that.

    Returns None after `seconds` without it. Exceptions in `retry` count as not ready; the last one
    is raised.
    """
    failure: Exception | None = None
    for _ in attempts(seconds, pause):
        failure = None
        try:
            if result := ready():
                return result
        except retry as error:
            failure = error
    if failure:
        raise failure
    return None
