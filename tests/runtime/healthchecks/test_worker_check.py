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
def check(script, tmp_path, monkeypatch):
    """The check of a worker with two slots; its folder of processes is empty."""
    monkeypatch.setenv("AIRFLOW__CELERY__WORKER_CONCURRENCY", "2")
    module = script("healthchecks.worker_check")
    monkeypatch.setattr(module, "PROCESSES", tmp_path)
    return module


@pytest.fixture
def is_consuming(check):
    return check.is_consuming


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


@pytest.mark.parametrize(
    ("titles", "healthy"),
    [
        ([], False),
        (["[celery task] a", "[celery idle]"], False),
        (["[celery task] a", "[celery task] b", "airflow worker -- 1"], True),
        (["[celery task] a", "airflow worker -- 1"], False),
        # A worker that was started before an upgrade of this check.
        (["airflow worker -- 1", "airflow worker -- 2"], True),
        # A slot, and the process that it has just forked for its task.
        (["[celery task] a", "[celery task] a"], False),
        (["python -m [celery task] a", "[celery task] b"], False),
    ],
)
def test_worker_with_all_slots_in_use_is_consuming(is_consuming, redis, tmp_path, titles, healthy):
    # Redis keeps the messages of a killed worker for a day.
    redis.clients, redis.unacked = [consumer("10.0.0.9:1")], 8
    for number, title in enumerate(titles):
        (tmp_path / str(number)).mkdir()
        (tmp_path / str(number) / "cmdline").write_bytes(title.encode() + b"\0\0")
    # This process has exited meanwhile.
    (tmp_path / "99" / "cmdline").mkdir(parents=True)
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


@pytest.fixture
def run_check(repo, tmp_path):
    """Return a function that runs the check as the container does, without installed packages."""

    def run_check(url):
        environment = {
            "AIRFLOW__CELERY__BROKER_URL": url,
            "AIRFLOW__CELERY__WORKER_CONCURRENCY": "2",
            "WORKER_PROCESSES": str(tmp_path),
            "WORKER_STATE": str(tmp_path),
        }
        check = repo / "orchestration/config/stack_runtime/healthchecks/worker_check.py"
        return run(sys.executable, "-S", check, env=environment, timeout=20)

    return run_check


@pytest.mark.parametrize(("cmd", "code"), [("brpop", 0), ("ping", 1)])
def test_check_exit_code_reflects_consumer(run_check, redis, cmd, code):
    redis.clients = [consumer("127.0.0.1:2", cmd=cmd)]
    result = run_check(redis.url)
    assert result.returncode == code
    assert result.stderr == ("" if code == 0 else "The worker does not wait for tasks.\n")


def test_check_without_redis_exits_with_3(run_check, dead_port):
    result = run_check(f"redis://:x@127.0.0.1:{dead_port}/0")
    # For heal.sh, 3 means that another service is missing.
    assert (result.returncode, result.stdout.startswith("redis: ")) == (3, True)


def test_check_of_stopping_worker_exits_with_3(run_check, redis, tmp_path):
    redis.clients = []
    assert run_check(redis.url).returncode == 1
    (tmp_path / "worker-stopping").touch()
    result = run_check(redis.url)
    # It must not be killed while its tasks finish.
    assert (result.returncode, "is stopping" in result.stdout) == (3, True)
