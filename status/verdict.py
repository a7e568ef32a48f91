"""What a probe says, and the one way to ask: within a time limit and without ever raising."""

import asyncio
import time
from collections.abc import Awaitable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import asyncpg
import httpx
from redis.exceptions import RedisError
from redis.exceptions import TimeoutError as RedisTimeout

LIMIT_SECONDS = 2.0
TOO_LATE = (TimeoutError, httpx.TimeoutException, RedisTimeout)


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


class Untold(UnexpectedAnswer):
    """Something answered, but what was asked for cannot be known from it."""


async def judge(name: str, question: Awaitable[tuple[str, str]], silent: str = "down") -> Verdict:
    """Await (state, detail) for at most LIMIT_SECONDS.

    Never raises: an error gives the state `silent` (Untold: "unknown"), the reason, no latency.
    """
    started = time.perf_counter()
    try:
        async with asyncio.timeout(LIMIT_SECONDS):
            state, detail = await question
    except Exception as error:
        state = "unknown" if isinstance(error, Untold) else silent
        return Verdict(name, state, reason(error))
    return Verdict(name, state, detail, round((time.perf_counter() - started) * 1000, 1))


def reason(error: Exception) -> str:
    """Say in one line why something did not answer, without addresses and their passwords."""
    if isinstance(error, TOO_LATE):
        return f"no answer within {LIMIT_SECONDS:g} s"
    if isinstance(error, ConnectionRefusedError):
        return "refuses connections"
    # Other errors are named only: their text may quote an address with its password.
    known = UnexpectedAnswer | httpx.TransportError | RedisError | asyncpg.PostgresError
    if isinstance(error, known) and str(error):
        # PostgreSQL adds lines with details and hints.
        return " ".join(str(error).split())[:160]
    return type(error).__name__


def json_object(response: httpx.Response) -> dict[str, Any]:
    """Read an answer that must be HTTP 200 and a JSON object; raises UnexpectedAnswer."""
    if response.status_code != 200:
        raise UnexpectedAnswer(f"HTTP {response.status_code}")
    try:
        answer = response.json()
    except ValueError:
        raise UnexpectedAnswer("the answer is not JSON") from None
    if not isinstance(answer, dict):
        raise UnexpectedAnswer("the answer is not a JSON object")
    return answer
