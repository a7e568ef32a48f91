"""Wait until PostgreSQL accepts sessions; init jobs may start before it does.

A connection alone does not show that. While PostgreSQL starts, recovers from a crash or stops, it
accepts connections and then rejects them with an error.
"""

import socket
import struct
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import parse_qs, urlsplit

# The recovery from a crash replays up to 1 GiB of logs. A slow disk needs minutes for that.
RECOVERY_SECONDS = 600.0
PAUSE_SECONDS = 0.2
# The first message of a client: its length, the version 3.0 of the protocol, and a user.
PARAMETERS = b"user\0wait_for_server\0\0"
STARTUP = struct.pack("!II", 8 + len(PARAMETERS), 3 << 16) + PARAMETERS
# PostgreSQL's code for "the database system is starting up" and similar errors.
CANNOT_CONNECT_NOW = b"57P03"


def wait_for_server(url: str, seconds: float = 60.0) -> None:
    """Return once the server of a database URL accepts sessions.

    The server listens on a host and port, or on a socket in the folder given as `?host=/folder`.
    Raises SystemExit with one line if it gives no answer for `seconds`, or only rejections for
    RECOVERY_SECONDS.
    """
    started = answered = time.monotonic()
    while True:
        now = time.monotonic()
        try:
            reason, answered = rejection(url), now
            if not reason:
                return
        except OSError as error:
            reason = str(error)
        if now - answered > seconds or now - started > RECOVERY_SECONDS:
            address = address_of(url)
            name = address if isinstance(address, str) else f"{address[0]}:{address[1]}"
            sys.exit(f"{name} is not ready after {now - started:.0f} s: {reason}")
        time.sleep(PAUSE_SECONDS)


def address_of(url: str) -> str | tuple[str, int]:
    """Return the path of the socket, or host and port."""
    parts = urlsplit(url)
    if folder := parse_qs(parts.query).get("host"):
        return f"{folder[0]}/.s.PGSQL.{parts.port or 5432}"
    return parts.hostname or "localhost", parts.port or 5432


def rejection(url: str) -> str:
    """Return why the server accepts no sessions now, or "" if it does; it needs no password.

    Raises OSError if it gives no answer.
    """
    with connect(url) as connection, connection.makefile("rb") as answer:
        connection.sendall(STARTUP)
        head = answer.read(5)
        if len(head) < 5:
            raise ConnectionError("The server closed the connection.")
        # Anything else asks for a password, or rejects this user alone.
        fields = answer.read(int.from_bytes(head[1:]) - 4) if head[:1] == b"E" else b""
    error = {field[:1]: field[1:] for field in fields.split(b"\0")}
    return error[b"M"].decode() if error.get(b"C") == CANNOT_CONNECT_NOW else ""


@contextmanager
def connect(url: str) -> Iterator[socket.socket]:
    """Yield a connection that waits 2 s for each answer. Raises OSError if nothing listens."""
    address = address_of(url)
    if isinstance(address, tuple):
        with socket.create_connection(address, timeout=2) as client:
            yield client
        return
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(2)
        client.connect(address)
        yield client
