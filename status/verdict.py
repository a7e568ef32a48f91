"""What a probe says, and the one way to ask: within a time limit and without ever raising."""

import asyncio
import time
from collections.abc import Awaitable
from dataclasses import dataclass
from datetime import datetime

import httpx
from redis.exceptions import RedisError
from redis.exceptions import TimeoutError as RedisTimeout

LIMIT_SECONDS = 2.0


@dataclass(frozen=True)
class Verdict:
    """What one probe found out.

    `state` is "up", "degraded", "down" or "unknown"; `detail` is one line for people;
    `latency_ms` is the service's own answering time, None when it was not asked itself.
    """

    name: str
    state: str
    detail: str
    latency_ms: float | None = None
    # The newest sign of life where it is older than the question, as a heartbeat is.
    seen: datetime | None = None


class UnexpectedAnswer(Exception):
    """Something answered, but not as the service would."""


async def judge(name: str, question: Awaitable[tuple[str, str]], silent: str = "down") -> Verdict:
    """Await (state, detail) for at most LIMIT_SECONDS.

    Never raises: an error gives the state `silent`, the reason, and no latency.
    """
    started = time.perf_counter()
    try:
        async with asyncio.timeout(LIMIT_SECONDS):
            state, detail = await question
    except Exception as error:
        return Verdict(name, silent, _reason(error))
    return Verdict(name, state, detail, round((time.perf_counter() - started) * 1000, 1))


def _reason(error: Exception) -> str:
    if isinstance(error, TimeoutError | httpx.TimeoutException | RedisTimeout):
        return f"no answer within {LIMIT_SECONDS:g} s"
    # Other errors are named only: their text may quote an address with its password.
    if isinstance(error, UnexpectedAnswer | httpx.TransportError | RedisError) and str(error):
        return f"{error!s:.160}"
    return type(error).__name__
