"""Wait until a server accepts connections; init jobs may start before it is ready."""

import socket
import sys
import time
from urllib.parse import parse_qs, urlsplit


def wait_for_server(url: str, seconds: float = 60.0) -> None:
    """Return once the server of a database URL accepts a connection.

    The server listens on a host and port, or on a socket in the folder given as `?host=/folder`.
    Raises SystemExit with one line if it does not accept a connection within `seconds`.
    """
    deadline = time.monotonic() + seconds
    while True:
        try:
            connect(url)
            return
        except OSError as error:
            if time.monotonic() > deadline:
                address = address_of(url)
                name = address if isinstance(address, str) else f"{address[0]}:{address[1]}"
                sys.exit(f"{name} accepted no connection within {seconds:.0f} s: {error}")
            time.sleep(0.2)


def address_of(url: str) -> str | tuple[str, int]:
    """Return the path of the socket, or host and port."""
    parts = urlsplit(url)
    if folder := parse_qs(parts.query).get("host"):
        return f"{folder[0]}/.s.PGSQL.{parts.port or 5432}"
    return parts.hostname or "localhost", parts.port or 5432


def connect(url: str) -> None:
    """Connect and disconnect. Raises OSError if nothing listens."""
    address = address_of(url)
    if isinstance(address, tuple):
        socket.create_connection(address, timeout=2).close()
        return
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(2)
        client.connect(address)
