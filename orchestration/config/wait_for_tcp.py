"""Wait until a server takes connections, for the one-shots that run before it may be ready."""

import socket
import sys
import time
from urllib.parse import urlsplit


def wait_for_tcp(url: str, seconds: float = 60.0) -> None:
    """Return once the host and port of `url` accept a connection.

    Raises SystemExit with one line when nothing accepted within `seconds`.
    """
    parts = urlsplit(url)
    address = (parts.hostname or "localhost", parts.port or 5432)
    deadline = time.monotonic() + seconds
    while True:
        try:
            socket.create_connection(address, timeout=2).close()
            return
        except OSError as error:
            if time.monotonic() > deadline:
                sys.exit(
                    f"{address[0]}:{address[1]} took no connection in {seconds:.0f} s: {error}"
                )
            time.sleep(0.2)
