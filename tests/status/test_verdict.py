"""Probes within a time limit: reasons in one line and without secrets, and no exceptions."""

import asyncio

import httpx
import pytest
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeout

from status.verdict import Inconclusive, UnexpectedAnswer, json_object, judge, reason

TIMEOUT = "no answer within 2 s"


def judge_error(error, **kwargs):
    async def probe():
        raise error

    return asyncio.run(judge("mlflow", probe(), **kwargs))


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (TimeoutError(), TIMEOUT),
        (httpx.ReadTimeout("x"), TIMEOUT),
        (RedisTimeout("x"), TIMEOUT),
        (ConnectionRefusedError("at s3cret"), "refuses connections"),
        (httpx.ConnectError("All attempts failed"), "All attempts failed"),
        (httpx.ConnectError(""), "ConnectError"),
        (RedisConnectionError("a\nb   c"), "a b c"),
        (UnexpectedAnswer("x" * 900), "x" * 160),
        (ValueError("s3cret"), "ValueError"),
        (OSError("s3cret"), "OSError"),
    ],
)
def test_reason_is_one_line_without_addresses(error, text):
    assert reason(error) == text


@pytest.mark.parametrize(
    ("error", "on_error", "state"),
    [
        (UnexpectedAnswer("x"), "down", "down"),
        (ZeroDivisionError(), "unknown", "unknown"),
        (Inconclusive("x"), "down", "unknown"),
    ],
)
def test_judge_of_an_error_has_no_latency(error, on_error, state):
    verdict = judge_error(error, on_error=on_error)
    assert (verdict.state, verdict.latency_ms) == (state, None)


@pytest.mark.parametrize(
    ("code", "body", "reason"),
    [
        (503, b"{}", "HTTP 503"),
        (204, b"{}", "HTTP 204"),
        (200, b"", "not JSON"),
        (200, b"[]", "not a JSON object"),
    ],
)
def test_json_object_requires_200_and_an_object(code, body, reason):
    with pytest.raises(UnexpectedAnswer, match=reason):
        json_object(httpx.Response(code, content=body))
    assert json_object(httpx.Response(200, content=b'{"a": 1}')) == {"a": 1}
