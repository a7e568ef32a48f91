"""The worker's health check, against a Redis of a few lines."""

import sys

import pytest

from tests.status.stubs import RedisStub, client
from tests.support.process import run


@pytest.fixture
def redis():
    """A Redis without any client."""
    with RedisStub("pa/ss") as stub:
        stub.clients = []
        yield stub


@pytest.fixture
def consuming(script, monkeypatch):
    monkeypatch.setenv("AIRFLOW__CELERY__WORKER_CONCURRENCY", "2")
    return script("healthchecks.worker_check").consuming


def a_client(addr, cmd="brpop", **told):
    """One of `addr` that waits."""
    return client(cmd, **{"flags": "b", "addr": addr, **told})


def test_a_consumer_at_my_address_that_waits_is_well(consuming, redis):
    redis.clients = [a_client("10.0.0.9:1", "ping"), a_client("127.0.0.1:2")]
    assert consuming(redis.url)
    assert redis.commands == ["AUTH", "CLIENT"]


def test_a_consumer_between_two_asks_is_well(consuming, redis):
    redis.clients = [a_client("127.0.0.1:2", flags="N", idle=1)]
    assert consuming(redis.url)


@pytest.mark.parametrize(
    "client",
    [
        a_client("10.0.0.9:1"),
        a_client("127.0.0.10:1"),
        a_client("127.0.0.1:2", cmd="ping"),
        a_client("10.0.0.9:1", laddr="127.0.0.1:6379"),
        a_client("127.0.0.1:2", flags="N", idle=60),
    ],
)
def test_only_a_waiting_consumer_at_my_own_address_counts(consuming, redis, client):
    redis.clients = [client]
    assert not consuming(redis.url)


@pytest.mark.parametrize(("unacked", "well"), [(0, False), (1, False), (2, True), (3, True)])
def test_a_worker_that_is_busy_with_all_it_may_take_is_well(consuming, redis, unacked, well):
    redis.clients, redis.in_hand = [a_client("10.0.0.9:1")], unacked
    assert consuming(redis.url) is well


def test_a_long_list_of_clients_is_read_whole(consuming, redis):
    redis.clients = [a_client(f"10.0.{n // 250}.{n % 250}:1") for n in range(2000)]
    redis.clients.append(a_client("127.0.0.1:2"))
    assert consuming(redis.url)


def test_a_refused_password_is_told_without_it(consuming, redis):
    wrong = redis.url.replace("pa%2Fss", "secret")
    with pytest.raises(ConnectionError, match=r"^WRONGPASS") as refused:
        consuming(wrong)
    assert "secret" not in str(refused.value)


def checked(repo, url):
    """The worker's check as its container runs it, without anybody's packages."""
    asked = {"AIRFLOW__CELERY__BROKER_URL": url, "AIRFLOW__CELERY__WORKER_CONCURRENCY": "2"}
    check = repo / "orchestration/config/stack_runtime/healthchecks/worker_check.py"
    return run(sys.executable, "-S", check, env=asked, timeout=20)


@pytest.mark.parametrize(("cmd", "code"), [("brpop", 0), ("ping", 1)])
def test_the_check_ends_as_a_container_expects(repo, redis, cmd, code):
    redis.clients = [a_client("127.0.0.1:2", cmd=cmd)]
    done = checked(repo, redis.url)
    assert done.returncode == code
    assert done.stderr == ("" if code == 0 else "no client of this worker waits for tasks\n")


def test_without_redis_the_worker_is_not_well_and_no_better_for_being_ended(repo, dead_port):
    done = checked(repo, f"redis://:x@127.0.0.1:{dead_port}/0")
    # What heal.sh takes for want of another service.
    assert (done.returncode, done.stdout.startswith("redis: ")) == (3, True)
