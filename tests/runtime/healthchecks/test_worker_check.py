"""Test the worker's health check with a stub of Redis."""

import sys

import pytest

from tests.status.stubs import RedisStub, client
from tests.support.process import run


@pytest.fixture
def redis():
    """A stub of Redis without clients."""
    with RedisStub("pa/ss") as stub:
        stub.clients = []
        yield stub


@pytest.fixture
def is_consuming(script, monkeypatch):
    monkeypatch.setenv("AIRFLOW__CELERY__WORKER_CONCURRENCY", "2")
    return script("healthchecks.worker_check").is_consuming


def consumer(addr, cmd="brpop", **fields):
    """Return the line of CLIENT LIST for a consumer at `addr` that waits."""
    return client(cmd, **{"flags": "b", "addr": addr, **fields})


def test_worker_with_waiting_consumer_is_consuming(is_consuming, redis):
    redis.clients = [consumer("10.0.0.9:1", "ping"), consumer("127.0.0.1:2")]
    assert is_consuming(redis.url)
    assert redis.commands == ["AUTH", "CLIENT"]


def test_worker_with_consumer_between_polls_is_consuming(is_consuming, redis):
    redis.clients = [consumer("127.0.0.1:2", flags="N", idle=1)]
    assert is_consuming(redis.url)


@pytest.mark.parametrize(
    "client",
    [
        consumer("10.0.0.9:1"),
        consumer("127.0.0.10:1"),
        consumer("127.0.0.1:2", cmd="ping"),
        consumer("10.0.0.9:1", laddr="127.0.0.1:6379"),
        consumer("127.0.0.1:2", flags="N", idle=60),
    ],
)
def test_worker_without_own_waiting_consumer_is_not_consuming(is_consuming, redis, client):
    redis.clients = [client]
    assert not is_consuming(redis.url)


@pytest.mark.parametrize(("unacked", "healthy"), [(0, False), (1, False), (2, True), (3, True)])
def test_worker_with_all_slots_in_use_is_consuming(is_consuming, redis, unacked, healthy):
    redis.clients, redis.unacked = [consumer("10.0.0.9:1")], unacked
    assert is_consuming(redis.url) is healthy


def test_long_client_list_is_read_completely(is_consuming, redis):
    redis.clients = [consumer(f"10.0.{n // 250}.{n % 250}:1") for n in range(2000)]
    redis.clients.append(consumer("127.0.0.1:2"))
    assert is_consuming(redis.url)


def test_rejected_password_is_not_in_error(is_consuming, redis):
    url = redis.url.replace("pa%2Fss", "secret")
    with pytest.raises(ConnectionError, match=r"^WRONGPASS") as error:
        is_consuming(url)
    assert "secret" not in str(error.value)


def run_check(repo, url):
    """Run the worker's check as its container does, without installed packages."""
    environment = {"AIRFLOW__CELERY__BROKER_URL": url, "AIRFLOW__CELERY__WORKER_CONCURRENCY": "2"}
    check = repo / "orchestration/config/stack_runtime/healthchecks/worker_check.py"
    return run(sys.executable, "-S", check, env=environment, timeout=20)


@pytest.mark.parametrize(("cmd", "code"), [("brpop", 0), ("ping", 1)])
def test_check_exit_code_reflects_consumer(repo, redis, cmd, code):
    redis.clients = [consumer("127.0.0.1:2", cmd=cmd)]
    result = run_check(repo, redis.url)
    assert result.returncode == code
    assert result.stderr == ("" if code == 0 else "The worker does not wait for tasks.\n")


def test_check_without_redis_exits_with_3(repo, dead_port):
    result = run_check(repo, f"redis://:x@127.0.0.1:{dead_port}/0")
    # For heal.sh, 3 means that another service is missing.
    assert (result.returncode, result.stdout.startswith("redis: ")) == (3, True)
