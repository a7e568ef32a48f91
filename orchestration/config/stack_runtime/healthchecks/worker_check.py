"""Health check of a worker: whether it takes tasks from Redis.

A worker can answer pings and still consume nothing (airflow issue 63580). So this checks in Redis
that a client at this address waits in BRPOP, or that all slots of the worker are in use. A raw
socket under `python -S` takes 0.02 CPU-seconds; `celery inspect ping` takes 1.3.
"""

import os
import socket
import sys
from urllib.parse import unquote, urlsplit

# A consumer polls Redis every second. The rest is tolerance for a loaded machine.
POLL_LIMIT_SECONDS = 5


def ask(connection: socket.socket, *words: str) -> str:
    """Send a Redis command and return its whole answer (bulk string, simple string or integer).

    Raises ConnectionError if Redis rejects the command.
    """
    request = f"*{len(words)}\r\n" + "".join(f"${len(w.encode())}\r\n{w}\r\n" for w in words)
    connection.sendall(request.encode())
    answer = connection.makefile("rb")
    head = answer.readline().decode().strip()
    if head.startswith("-"):
        raise ConnectionError(head[1:])
    return answer.read(int(head[1:])).decode() if head.startswith("$") else head[1:]


def is_consumer(client: str, address: str) -> bool:
    """Return whether a line of CLIENT LIST is a consumer at `address`, blocked or between polls.

    BRPOP alone proves nothing: it stays the last command of a client that no longer polls.
    """
    fields = dict(field.partition("=")[::2] for field in client.split())
    is_local = fields["addr"].rpartition(":")[0] == address
    polls = "b" in fields["flags"] or int(fields["idle"]) <= POLL_LIMIT_SECONDS
    return is_local and fields["cmd"] == "brpop" and polls


def is_consuming(broker_url: str) -> bool:
    """Return whether the worker at this address waits for tasks, or all its slots are in use.

    Raises OSError if Redis does not answer or rejects a command.
    """
    url = urlsplit(broker_url)
    with socket.create_connection((url.hostname, url.port or 6379), timeout=5) as connection:
        ask(connection, "AUTH", unquote(url.password or ""))
        address = connection.getsockname()[0]
        clients = ask(connection, "CLIENT", "LIST").splitlines()
        if any(is_consumer(client, address) for client in clients):
            return True
    with socket.create_connection((url.hostname, url.port or 6379), timeout=5) as connection:
        ask(connection, "AUTH", unquote(url.password or ""))
        return int(ask(connection, "HLEN", "unacked")) >= int(
            os.environ["AIRFLOW__CELERY__WORKER_CONCURRENCY"]
        )


if __name__ == "__main__":
    try:
        if not is_consuming(os.environ["AIRFLOW__CELERY__BROKER_URL"]):
            sys.exit("The worker does not wait for tasks.")
    except OSError as error:
        print(f"redis: {error}")
        # Code 3 is unhealthy, but a restart would not help (heal.sh).
        sys.exit(3)
