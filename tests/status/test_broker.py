"""The probes of Redis and the worker, with a RESP stub."""

import asyncio

import pytest

from status.broker import Broker, airflow_worker, redis
from tests.status.stubs import client

WAITING = client("brpop", "b")
BUSY = client("brpop", "N", idle=42)
PINGING = client("ping", "P", idle=49)


def test_redis_that_writes_its_file_is_up(broker):
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
def test_redis_without_persistence_is_not_up(broker, persistence, state):
    broker.persistence = persistence
    assert asyncio.run(redis(broker.url)).state == state


def test_redis_with_wrong_password_is_down_without_showing_it(broker):
    verdict = asyncio.run(redis(broker.url.replace("s3cret", "0ther")))
    assert verdict.state == "down"
    assert "password" in verdict.detail
    assert "0ther" not in verdict.detail


@pytest.mark.parametrize(
    ("clients", "waiting", "unacked", "state", "text"),
    [
        ([WAITING], 0, 0, "up", "consuming"),
        ([WAITING, BUSY], 0, 4, "up", "consuming"),
        ([client("brpop", "N", idle=1)], 3, 0, "up", "3 waiting"),
        ([BUSY, PINGING], 96, 4, "up", "all slots busy; 96 waiting, 4 in progress"),
        ([BUSY, client("publish", "N", idle=2)], 1, 4, "up", "busy"),
        ([BUSY], 1, 4, "degraded", "no sign of life"),
        ([BUSY, client("ping", "P", idle=99)], 1, 4, "degraded", "no sign of life"),
        ([BUSY], 0, 0, "down", "takes no tasks"),
        ([BUSY, PINGING], 3, 0, "down", "takes no tasks"),
        ([WAITING], 3, 0, "down", "takes no tasks"),
        ([PINGING, client("llen", "N")], 7, 4, "down", "no worker is connected; 7 waiting"),
        ([client("get", "N")], 0, 0, "down", "no worker is connected"),
    ],
)
def test_worker_is_up_only_if_it_consumes(broker, clients, waiting, unacked, state, text):
    broker.clients, broker.waiting, broker.unacked = clients, waiting, unacked
    verdict, found = asyncio.run(airflow_worker(broker.url))
    assert (verdict.name, verdict.state) == ("airflow-worker", state)
    assert text in verdict.detail
    # The latency is that of Redis, not of the worker.
    assert (found.waiting, verdict.latency_ms) == (waiting, None)


@pytest.mark.parametrize(
    ("clients", "workers", "free"),
    [
        ([WAITING, PINGING], 1, 1),
        ([WAITING, WAITING, BUSY], 3, 2),
        # It has just received a message, and its queues may have more.
        ([client("brpop", "N", idle=1)], 1, 0),
        ([PINGING, client("llen", "N")], 0, 0),
    ],
)
def test_worker_probe_counts_workers_that_wait_for_messages(broker, clients, workers, free):
    broker.clients, broker.waiting, broker.unacked, broker.old = clients, 7, 5, 2
    _, found = asyncio.run(airflow_worker(broker.url))
    assert found == Broker(waiting=7, received=2, workers=workers, free=free)


def test_worker_probe_counts_messages_that_were_received_three_minutes_ago(broker, monkeypatch):
    monkeypatch.setattr("time.time", lambda: 1000.0)
    broker.forbidden = "ZCOUNT UNACKED_INDEX -INF 820"
    assert asyncio.run(airflow_worker(broker.url))[1] is None
    broker.forbidden = "ZCOUNT UNACKED_INDEX -INF 821"
    assert asyncio.run(airflow_worker(broker.url))[1]


def test_worker_probe_uses_one_transaction(broker):
    asyncio.run(airflow_worker(broker.url))
    begin, end = broker.commands.index("MULTI"), broker.commands.index("EXEC")
    assert broker.commands[begin + 1 : end] == ["CLIENT", "LLEN", "HLEN", "ZCOUNT"]


@pytest.mark.parametrize("command", ["CLIENT LIST", "LLEN", "HLEN", "ZCOUNT"])
def test_worker_without_redis_permission_is_unknown(broker, command):
    broker.forbidden = command
    verdict, found = asyncio.run(airflow_worker(broker.url))
    assert verdict.state == "unknown"
    assert "no data from Redis" in verdict.detail
    assert found is None
