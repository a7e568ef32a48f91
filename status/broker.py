"""Probe Redis: its persistence, and the workers that take tasks from it as Celery's broker."""

import time
from dataclasses import dataclass, replace

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from status.verdict import UnexpectedAnswer, Verdict, judge

QUEUE = "default"
# Celery's hash of tasks that a worker has received and not yet acknowledged, and when it did so.
UNACKED, UNACKED_TIMES = "unacked", "unacked_index"
# Within this time the scheduler has sent a task, and a worker has started it, if a slot is free.
STARTED_SECONDS = 180
# An idle Celery consumer polls Redis every second; the rest is slack for a loaded host.
POLL_LIMIT_SECONDS = 5
# Its event loop pings its control channel every 25 to 50 s, even if all slots are busy.
PING_LIMIT_SECONDS = 60


@dataclass(frozen=True)
class Broker:
    """Messages that wait in QUEUE or were received long ago, and workers.

    `free` is how many workers wait for a message now, so all queues that they serve are empty.
    `unserved` are queues that no worker serves, as far as is known.
    """

    waiting: int
    received: int
    workers: int
    free: int
    unserved: frozenset[str] = frozenset()


async def redis(url: str) -> Verdict:
    """PING Redis with its password and check that the queue would survive a restart."""

    async def ask() -> tuple[str, str]:
        async with _connection(url) as client:
            await client.ping()
            persistence = await client.info("persistence")
        if not persistence.get("aof_enabled"):
            return "degraded", "append-only file is off; a restart would lose the queue"
        write_status = persistence.get("aof_last_write_status")
        if write_status != "ok":
            return "down", f"last write to the append-only file: {write_status!s:.20}"
        return "up", "append-only file is written"

    return await judge("redis", ask())


async def airflow_worker(url: str) -> tuple[Verdict, Broker | None]:
    """Check in Redis that a worker consumes; also return what Redis contains, None if unknown."""
    brokers: list[Broker] = []

    async def ask() -> tuple[str, str]:
        # In one transaction, because a queue counted later could contradict its consumers.
        async with _connection(url) as client, client.pipeline(transaction=True) as pipeline:
            pipeline.client_list()
            pipeline.llen(QUEUE)
            pipeline.hlen(UNACKED)
            pipeline.zcount(UNACKED_TIMES, "-inf", time.time() - STARTED_SECONDS)
            clients, queued, unacked, received = await pipeline.execute()
        polling = [client for client in clients if client["cmd"] == "brpop"]
        free = sum("b" in client["flags"] for client in polling)
        brokers.append(Broker(int(queued), int(received), len(polling), free))
        return _consumption(clients, queued, unacked)

    verdict = await judge("airflow-worker", ask(), on_error="unknown")
    if not brokers:
        return replace(verdict, detail=f"no data from Redis: {verdict.detail}"), None
    # The latency is that of Redis, not of the worker.
    return replace(verdict, latency_ms=None), brokers[0]


def _consumption(clients: list[dict[str, str]], waiting: int, unacked: int) -> tuple[str, str]:
    polling = [client for client in clients if client["cmd"] == "brpop"]
    blocked = any("b" in client["flags"] for client in polling)
    counts = f"{waiting} waiting, {unacked} in progress"
    if not polling:
        return "down", f"no worker is connected; {counts}"
    # Redis serves blocked clients at once, so tasks wait next to one only if it polls other queues.
    if (blocked and not waiting) or any(_between_polls(client) for client in polling):
        return "up", f"consuming; {counts}"
    if not unacked:
        return "down", f"a worker is connected but takes no tasks from queue {QUEUE}; {counts}"
    # A worker with no free slot stops polling. Only its pings distinguish it from a frozen one.
    if any(_is_alive(client) for client in clients):
        return "up", f"all slots busy; {counts}"
    return "degraded", f"a worker takes no tasks and shows no sign of life; {counts}"


def _between_polls(client: dict[str, str]) -> bool:
    return "b" not in client["flags"] and int(client["idle"]) <= POLL_LIMIT_SECONDS


def _is_alive(client: dict[str, str]) -> bool:
    pings = "P" in client["flags"] and int(client["idle"]) <= PING_LIMIT_SECONDS
    reports = client["cmd"] == "publish" and int(client["idle"]) <= POLL_LIMIT_SECONDS
    return pings or reports


def _connection(url: str) -> Redis:
    try:
        return Redis.from_url(url, protocol=2, decode_responses=True, retry=Retry(NoBackoff(), 0))
    except ValueError:
        # The library quotes the part it could not parse, which may be the password.
        raise UnexpectedAnswer("REDIS_URL is not a valid address") from None
