"""Wait until a server takes connections, for the one-shots that run before it may be ready."""

import socket
import sys
import time
from urllib.parse import parse_qs, urlsplit


def wait_for_server(url: str, seconds: float = 60.0) -> None:
    """Return once the place that a database URL names accepts a connection.

    That is a host and port, or the socket in the folder given as `?host=/folder`. Raises
    SystemExit with one line when nothing accepted within `seconds`.
    """
    deadline = time.monotonic() + seconds
    while True:
        try:
            connect(url)
            return
        except OSError as error:
            if time.monotonic() > deadline:
                where = place(url)
                told = where if isinstance(where, str) else f"{where[0]}:{where[1]}"
                sys.exit(f"{told} took no connection in {seconds:.0f} s: {error}")
            time.sleep(0.2)


def place(url: str) -> str | tuple[str, int]:
    """The socket's path, or host and port."""
    parts = urlsplit(url)
    if folder := parse_qs(parts.query).get("host"):
        return f"{folder[0]}/.s.PGSQL.{parts.port or 5432}"
    return parts.hostname or "localhost", parts.port or 5432


def connect(url: str) -> None:
    """Connect once and hang up.

    Raises OSError when nothing listens.
    """
    address = place(url)
    if isinstance(address, tuple):
        socket.create_connection(address, timeout=2).close()
        return
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(2)
        client.connect(address)
