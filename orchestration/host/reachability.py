"""Questions that leave this machine, and never wait longer than the patience for them."""

import os
from collections.abc import Mapping
from queue import Empty, SimpleQueue
from threading import Thread

from orchestration.host.minimums import PATIENCE_SECONDS


def headers_of(address: str, bundle: str) -> Mapping[str, str] | None:
    """The headers of what a server has at an address, whatever it thinks of being asked.

    `bundle` is the file of certificates to trust. None: there was no answer in time.
    """
    answers: SimpleQueue[Mapping[str, str] | None] = SimpleQueue()

    def ask() -> None:
        answers.put(_head(address, bundle))

    # Beside this: a name server may take longer than any patience given to `requests`.
    Thread(target=ask, daemon=True).start()
    try:
        return answers.get(timeout=PATIENCE_SECONDS)
    except Empty:
        return None


def _head(address: str, bundle: str) -> Mapping[str, str] | None:
    import requests

    trusted = bundle if os.path.exists(bundle) else True
    try:
        return requests.head(address, timeout=PATIENCE_SECONDS, verify=trusted).headers
    except (requests.RequestException, OSError):
        return None
