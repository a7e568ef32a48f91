"""Asking within a limit: reasons in one line, no secret in them, nothing ever raised."""

import asyncio

import httpx
import pytest
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeout

from status.verdict import UnexpectedAnswer, Untold, json_object, judge, reason

LATE = "no answer within 2 s"


def judged(error, **kwargs):
    async def ask():
        raise error

    return asyncio.run(judge("mlflow", ask(), **kwargs))


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (TimeoutError(), LATE),
        (httpx.ReadTimeout("x"), LATE),
        (RedisTimeout("x"), LATE),
        (ConnectionRefusedError("at s3cret"), "refuses connections"),
        (httpx.ConnectError("All attempts failed"), "All attempts failed"),
        (httpx.ConnectError(""), "ConnectError"),
        (RedisConnectionError("a\nb   c"), "a b c"),
        (UnexpectedAnswer("x" * 900), "x" * 160),
        (ValueError("s3cret"), "ValueError"),
        (OSError("s3cret"), "OSError"),
    ],
)
def test_a_reason_is_one_line_without_addresses(error, told):
    assert reason(error) == told


@pytest.mark.parametrize(
    ("error", "silent", "state"),
    [
        (UnexpectedAnswer("x"), "down", "down"),
        (ZeroDivisionError(), "unknown", "unknown"),
        (Untold("x"), "down", "unknown"),
    ],
)
def test_an_error_is_a_verdict_without_a_time(error, silent, state):
    verdict = judged(error, silent=silent)
    assert (verdict.state, verdict.latency_ms) == (state, None)


@pytest.mark.parametrize(
    ("code", "body", "told"),
    [
        (503, b"{}", "HTTP 503"),
        (204, b"{}", "HTTP 204"),
        (200, b"", "not JSON"),
        (200, b"[]", "not a JSON object"),
    ],
)
def test_only_a_json_object_with_200_is_an_answer(code, body, told):
    with pytest.raises(UnexpectedAnswer, match=told):
        json_object(httpx.Response(code, content=body))
    assert json_object(httpx.Response(200, content=b'{"a": 1}')) == {"a": 1}
