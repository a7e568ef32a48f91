"""Define the result of a probe, and run probes within a time limit and without raising."""

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
TIMEOUTS = (TimeoutError, httpx.TimeoutException, RedisTimeout)


@dataclass(frozen=True)
class Verdict:
    """The result of one probe.

    `state` is "up", "degraded", "down" or "unknown". `detail` is one line for people.
    `latency_ms` is the response time, None if the service itself was not queried or did not answer.
    """

    name: str
    state: str
    detail: str
    latency_ms: float | None = None
    # The newest sign of life if it is older than the probe, for example a heartbeat.
    seen: datetime | None = None


class UnexpectedAnswer(Exception):
    """The answer is not one that the service would give."""


class Inconclusive(UnexpectedAnswer):
    """The answer does not show the state of the service."""


async def judge(name: str, probe: Awaitable[tuple[str, str]], on_error: str = "down") -> Verdict:
    """Await (state, detail) for at most LIMIT_SECONDS and return them as a verdict; never raises.

    An error results in the state `on_error` ("unknown" if Inconclusive), a reason and no latency.
    """
    started = time.perf_counter()
    try:
        async with asyncio.timeout(LIMIT_SECONDS):
            state, detail = await probe
    except Exception as error:
        state = "unknown" if isinstance(error, Inconclusive) else on_error
        return Verdict(name, state, reason(error))
    return Verdict(name, state, detail, round((time.perf_counter() - started) * 1000, 1))


def reason(error: Exception) -> str:
    """Return in one line why a probe failed, without addresses, which may contain passwords."""
    if isinstance(error, TIMEOUTS):
        return f"no answer within {LIMIT_SECONDS:g} s"
    if isinstance(error, ConnectionRefusedError):
        return "refuses connections"
    # Of other errors only the type is shown, because their text may quote a URL with its password.
    safe = UnexpectedAnswer | httpx.TransportError | RedisError | asyncpg.PostgresError
    if isinstance(error, safe) and str(error):
        # PostgreSQL appends details and hints on lines of their own.
        return " ".join(str(error).split())[:160]
    return type(error).__name__


def json_object(response: httpx.Response) -> dict[str, Any]:
    """Return the body, or raise UnexpectedAnswer if it is not HTTP 200 with a JSON object."""
    if response.status_code != 200:
        raise UnexpectedAnswer(f"HTTP {response.status_code}")
    try:
        answer = response.json()
    except ValueError:
        raise UnexpectedAnswer("the answer is not JSON") from None
    if not isinstance(answer, dict):
        raise UnexpectedAnswer("the answer is not a JSON object")
    return answer
