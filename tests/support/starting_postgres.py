"""A PostgreSQL that answers the first message of each client, and nothing else."""

import socketserver
from typing import Any

from tests.support.http_stub import Stub

STARTING_UP = b"SFATAL\0VFATAL\0C57P03\0Mthe database system is starting up\0\0"
UNKNOWN_DATABASE = b'SFATAL\0C3D000\0Mdatabase "x" does not exist\0\0'


def error(fields: bytes) -> bytes:
    """Return an error message of the protocol."""
    return b"E" + (len(fields) + 4).to_bytes(4) + fields


# It asks for a password.
READY = b"R\0\0\0\x17\0\0\0\x0aSCRAM-SHA-256\0\0"


class StartingPostgres(Stub):
    """Gives `answers` in order, and then repeats the last one; a blank one closes the connection.

    It listens on a port of this machine, or on a socket in `folder`.
    """

    def __init__(self, *answers: bytes, folder: str = "") -> None:
        self.answers = list(answers)
        self.greetings: list[bytes] = []
        stub = self

        class Handler(socketserver.BaseRequestHandler):
            def handle(self) -> None:
                stub.greetings.append(self.request.recv(1024))
                self.request.sendall(stub.answers[0])
                del stub.answers[: len(stub.answers) > 1]

        server: Any
        if folder:
            server = socketserver.UnixStreamServer(f"{folder}/.s.PGSQL.5432", Handler)
            place = f"/airflow?host={folder}"
        else:
            server = socketserver.TCPServer(("127.0.0.1", 0), Handler)
            place = f"127.0.0.1:{server.server_address[1]}/airflow"
        super().__init__(server)
        self.url = f"postgresql+psycopg2://airflow:secret@{place}"  # pragma: allowlist secret
