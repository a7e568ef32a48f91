import contextlib
import socket


def reach():
    with contextlib.suppress(OSError), socket.socket() as connection:
        connection.connect(("127.0.0.1", 9))  # finds: top-level-network
