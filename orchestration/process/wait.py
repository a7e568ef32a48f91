"""Wait for a condition, with a time limit."""

import time
from collections.abc import Callable, Iterator
from typing import TypeVar

T = TypeVar("T")


def attempts(seconds: float, pause: float) -> Iterator[None]:
    """Yield every `pause` seconds, the last time when `seconds` have passed."""
    deadline = time.monotonic() + seconds
    while True:
        yield
        if time.monotonic() >= deadline:
            return
        time.sleep(pause)


def wait_until(
    ready: Callable[[], T], seconds: float, *, pause: float, retry: tuple[type[Exception], ...] = ()
) -> T | None:
    """Call `ready` until it returns a true value and return that value.

    Returns None after `seconds`. Exceptions in `retry` count as not ready, but if the last call
    raised one, it is raised.
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
