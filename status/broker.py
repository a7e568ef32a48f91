"""What Redis says: about itself as Celery's broker, and about the workers that ask it for tasks."""

from dataclasses import replace

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from status.verdict import UnexpectedAnswer, Verdict, judge

QUEUE = "default"
# Celery's hash of tasks handed to a worker and not yet acknowledged.
IN_HAND = "unacked"
# A Celery consumer asks Redis again every second; the rest is slack for a loaded host.
POLL_LIMIT_SECONDS = 5
# Its event loop pings its control channel every 25 to 50 s, however busy its slots are.
PING_LIMIT_SECONDS = 60


async def redis(url: str) -> Verdict:
    """PING Redis with its password and read whether the queue would survive a restart."""

    async def ask() -> tuple[str, str]:
        async with _connection(url) as client:
            await client.ping()
            persistence = await client.info("persistence")
        if not persistence.get("aof_enabled"):
            return "degraded", "append-only file is off: a restart loses the queue"
        written = persistence.get("aof_last_write_status")
        if written != "ok":
            return "down", f"append-only file: last write was {written!s:.20}"
        return "up", "append-only file is written"

    return await judge("redis", ask())


async def airflow_worker(url: str) -> tuple[Verdict, int | None]:
    """See from Redis whether a worker really consumes, and how many tasks wait (None: unknown)."""
    waiting: list[int] = []

    async def ask() -> tuple[str, str]:
        # One transaction: a queue counted a moment after its consumers would contradict them.
        async with _connection(url) as client, client.pipeline(transaction=True) as moment:
            moment.client_list()
            moment.llen(QUEUE)
            moment.hlen(IN_HAND)
            clients, queued, in_hand = await moment.execute()
        waiting.append(int(queued))
        return _consumption(clients, queued, in_hand)

    verdict = await judge("airflow-worker", ask(), silent="unknown")
    if not waiting:
        return replace(verdict, detail=f"Redis cannot tell: {verdict.detail}"), None
    # The time was Redis's, not the worker's.
    return replace(verdict, latency_ms=None), waiting[0]


def _consumption(clients: list[dict[str, str]], waiting: int, in_hand: int) -> tuple[str, str]:
    polling = [client for client in clients if client["cmd"] == "brpop"]
    blocked = any("b" in client["flags"] for client in polling)
    tally = f"{waiting} waiting, {in_hand} in hand"
    if not polling:
        return "down", f"no worker is connected; {tally}"
    # Redis hands a waiting task to a blocked consumer at once: both together means other queues.
    if (blocked and not waiting) or any(_between_polls(client) for client in polling):
        return "up", f"consuming; {tally}"
    if not in_hand:
        return "down", f"a worker is connected but takes nothing from {QUEUE}; {tally}"
    # With every slot taken a worker stops asking; only its pings tell it from a frozen one.
    if any(_shows_life(client) for client in clients):
        return "up", f"all slots busy; {tally}"
    return "degraded", f"takes no more work and shows no other sign of life; {tally}"


def _between_polls(client: dict[str, str]) -> bool:
    return "b" not in client["flags"] and int(client["idle"]) <= POLL_LIMIT_SECONDS


def _shows_life(client: dict[str, str]) -> bool:
    pings = "P" in client["flags"] and int(client["idle"]) <= PING_LIMIT_SECONDS
    reports = client["cmd"] == "publish" and int(client["idle"]) <= POLL_LIMIT_SECONDS
    return pings or reports


def _connection(url: str) -> Redis:
    try:
        return Redis.from_url(url, protocol=2, decode_responses=True, retry=Retry(NoBackoff(), 0))
    except ValueError:
        # The library quotes the part it could not read, which may be the password.
        raise UnexpectedAnswer("REDIS_URL is not a valid address") from None
