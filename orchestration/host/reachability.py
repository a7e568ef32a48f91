"""Requests to other machines, with a hard time limit."""

import os
from collections.abc import Mapping
from queue import Empty, SimpleQueue
from threading import Thread

from orchestration.host.minimums import PATIENCE_SECONDS


def fetch_headers(address: str, bundle: str) -> Mapping[str, str] | None:
    """Return the headers of a server's response, whatever its status; None without one in time.

    `bundle` is the file of CA certificates to trust.
    """
    answers: SimpleQueue[Mapping[str, str] | None] = SimpleQueue()

    def request() -> None:
        answers.put(_head(address, bundle))

    # In a thread, because the timeout of `requests` does not limit the name lookup.
    Thread(target=request, daemon=True).start()
    try:
        return answers.get(timeout=PATIENCE_SECONDS)
    except Empty:
        return None


def _head(address: str, bundle: str) -> Mapping[str, str] | None:
    import requests

    verify = bundle if os.path.exists(bundle) else True
    try:
        return requests.head(address, timeout=PATIENCE_SECONDS, verify=verify).headers
    except (requests.RequestException, OSError):
        return None
