"""Health check of a worker: whether it takes tasks from Redis.

A worker can answer pings and still consume nothing (airflow issue 63580). So this checks in Redis
that a client at this address waits in BRPOP, or that all slots of the worker are in use. Redis does
not know the latter, as it keeps the messages of a killed worker for a day. A raw socket under
`python -S` takes 0.02 CPU-seconds; `celery inspect ping` takes 1.3.
"""

import os
import socket
import sys
from pathlib import Path
from urllib.parse import unquote, urlsplit

# A consumer polls Redis every second. The rest is tolerance for a loaded machine.
POLL_LIMIT_SECONDS = 5
# What the worker shows of itself (airflow/worker_state.py): a part of the title of a slot's
# process, before the ID of its task, and the file that exists while the worker is stopping.
BUSY = "celery task"
# The title of a task's own process, before the ID of the task.
TASK_TITLE = "airflow worker -- "
STOPPING = Path(os.environ.get("WORKER_STATE", "/tmp"), "worker-stopping")
PROCESSES = Path(os.environ.get("WORKER_PROCESSES", "/proc"))


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
    slots = int(os.environ["AIRFLOW__CELERY__WORKER_CONCURRENCY"])
    return any(is_consumer(client, address) for client in clients) or busy_slots() >= slots


def busy_slots() -> int:
    """Return how many tasks the processes of this container run."""
    titles = set()
    for file in PROCESSES.glob("[0-9]*/cmdline"):
        try:
            titles.add(file.read_text(errors="replace").rstrip("\0"))
        except OSError:
            continue
    # Briefly, a task's own process has the title of its slot. A worker that started before an
    # upgrade shows only the processes of its tasks.
    kinds = (f"[{BUSY}] ", TASK_TITLE)
    return max(sum(title.startswith(kind) for title in titles) for kind in kinds)


if __name__ == "__main__":
    # Code 3 is unhealthy, but a restart would not help (heal.sh).
    if STOPPING.exists():
        print("The worker is stopping and finishes its tasks.")
        sys.exit(3)
    try:
        if not is_consuming(os.environ["AIRFLOW__CELERY__BROKER_URL"]):
            sys.exit("The worker does not wait for tasks.")
    except OSError as error:
        print(f"redis: {error}")
        sys.exit(3)
