"""The Redis probe and the worker probe against a stub that speaks RESP."""

import asyncio

import pytest

from status.broker import airflow_worker, redis
from tests.status.stubs import client

LISTENING = client("brpop", "b")
TAKEN = client("brpop", "N", idle=42)
PINGING = client("ping", "P", idle=49)


def test_redis_is_up_when_it_answers_and_writes(broker):
    verdict = asyncio.run(redis(broker.url))
    assert (verdict.state, verdict.name) == ("up", "redis")
    assert verdict.latency_ms > 0


@pytest.mark.parametrize(
    ("persistence", "state"),
    [
        ("aof_enabled:1\r\naof_last_write_status:err\r\n", "down"),
        ("aof_enabled:0\r\naof_last_write_status:ok\r\n", "degraded"),
        ("aof_enabled:1\r\n", "down"),
        ("", "degraded"),
    ],
)
def test_redis_that_would_lose_the_queue_is_not_up(broker, persistence, state):
    broker.persistence = persistence
    assert asyncio.run(redis(broker.url)).state == state


def test_a_wrong_password_is_down_and_not_repeated(broker):
    verdict = asyncio.run(redis(broker.url.replace("s3cret", "0ther")))
    assert verdict.state == "down"
    assert "password" in verdict.detail
    assert "0ther" not in verdict.detail


@pytest.mark.parametrize(
    ("clients", "waiting", "in_hand", "state", "word"),
    [
        ([LISTENING], 0, 0, "up", "consuming"),
        ([LISTENING, TAKEN], 0, 4, "up", "consuming"),
        ([client("brpop", "N", idle=1)], 3, 0, "up", "3 waiting"),
        ([TAKEN, PINGING], 96, 4, "up", "all slots busy; 96 waiting, 4 in hand"),
        ([TAKEN, client("publish", "N", idle=2)], 1, 4, "up", "busy"),
        ([TAKEN], 1, 4, "degraded", "no other sign of life"),
        ([TAKEN, client("ping", "P", idle=99)], 1, 4, "degraded", "no other sign of life"),
        ([TAKEN], 0, 0, "down", "takes nothing"),
        ([TAKEN, PINGING], 3, 0, "down", "takes nothing"),
        ([LISTENING], 3, 0, "down", "takes nothing"),
        ([PINGING, client("llen", "N")], 7, 4, "down", "no worker is connected; 7 waiting"),
        ([client("get", "N")], 0, 0, "down", "no worker is connected"),
    ],
)
def test_only_a_worker_that_consumes_is_up(broker, clients, waiting, in_hand, state, word):
    broker.clients, broker.waiting, broker.in_hand = clients, waiting, in_hand
    verdict, queue = asyncio.run(airflow_worker(broker.url))
    assert (verdict.name, verdict.state) == ("airflow-worker", state)
    assert word in verdict.detail
    # The time was Redis's, not the worker's.
    assert (queue, verdict.latency_ms) == (waiting, None)


def test_consumers_and_queue_are_counted_at_one_moment(broker):
    asyncio.run(airflow_worker(broker.url))
    begin, end = broker.commands.index("MULTI"), broker.commands.index("EXEC")
    assert broker.commands[begin + 1 : end] == ["CLIENT", "LLEN", "HLEN"]


@pytest.mark.parametrize("refused", ["CLIENT LIST", "LLEN", "HLEN"])
def test_a_worker_redis_may_not_tell_of_is_unknown(broker, refused):
    broker.refused = refused
    verdict, queue = asyncio.run(airflow_worker(broker.url))
    assert verdict.state == "unknown"
    assert "Redis cannot tell" in verdict.detail
    assert queue is None
