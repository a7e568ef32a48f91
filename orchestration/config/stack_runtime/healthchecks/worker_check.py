"""Health of the worker of this container: does it take tasks from Redis?

A worker can answer pings and yet consume nothing (airflow issue 63580), so this looks at what
Redis sees: a client from this address that waits in BRPOP, or one that is busy with all it may
take. A raw socket under `python -S` costs 0.02 CPU-seconds; `celery inspect ping` costs 1.3.
"""

import os
import socket
import sys
from urllib.parse import unquote, urlsplit

# A consumer asks Redis again every second; the rest is slack for a loaded machine.
POLL_LIMIT_SECONDS = 5


def ask(connection: socket.socket, *words: str) -> str:
    """One Redis command and its answer, whole (a bulk or simple string, or an integer).

    Raises ConnectionError where Redis refuses.
    """
    request = f"*{len(words)}\r\n" + "".join(f"${len(w.encode())}\r\n{w}\r\n" for w in words)
    connection.sendall(request.encode())
    answer = connection.makefile("rb")
    head = answer.readline().decode().strip()
    if head.startswith("-"):
        raise ConnectionError(head[1:])
    return answer.read(int(head[1:])).decode() if head.startswith("$") else head[1:]


def waits(client: str, address: str) -> bool:
    """Tell whether a line of CLIENT LIST is a consumer at `address`, blocked or between two asks.

    BRPOP alone proves nothing: it stays the last command of a client that asks no more.
    """
    fields = dict(field.partition("=")[::2] for field in client.split())
    here = fields["addr"].rpartition(":")[0] == address
    asks = "b" in fields["flags"] or int(fields["idle"]) <= POLL_LIMIT_SECONDS
    return here and fields["cmd"] == "brpop" and asks


def consuming(broker_url: str) -> bool:
    """Tell whether a consumer at this address waits for tasks or has its hands full.

    Raises OSError where Redis does not answer, or refuses.
    """
    url = urlsplit(broker_url)
    with socket.create_connection((url.hostname, url.port or 6379), timeout=5) as connection:
        ask(connection, "AUTH", unquote(url.password or ""))
        mine = connection.getsockname()[0]
        if any(waits(line, mine) for line in ask(connection, "CLIENT", "LIST").splitlines()):
            return True
    with socket.create_connection((url.hostname, url.port or 6379), timeout=5) as connection:
        ask(connection, "AUTH", unquote(url.password or ""))
        return int(ask(connection, "HLEN", "unacked")) >= int(
            os.environ["AIRFLOW__CELERY__WORKER_CONCURRENCY"]
        )


if __name__ == "__main__":
    try:
        if not consuming(os.environ["AIRFLOW__CELERY__BROKER_URL"]):
            sys.exit("no client of this worker waits for tasks")
    except OSError as error:
        print(f"redis: {error}")
        # Not well, but no better for being started anew (heal.sh).
        sys.exit(3)
