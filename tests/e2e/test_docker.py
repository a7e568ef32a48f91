"""What only Docker has: containers, images, volumes, Compose by hand."""

import re
import time

import pytest

from tests.e2e.clone import PORTS, SERVICES, until
from tests.support.process import run

TOO_LATE = "no answer within 2 s"


def test_data_lives_in_two_roles_that_are_no_superusers(stack):
    query = (
        "SELECT rolname, rolsuper FROM pg_roles WHERE rolname IN ('airflow', 'mlflow') ORDER BY 1"
    )
    psql = f'PGPASSWORD="$POSTGRES_PASSWORD" psql -h 127.0.0.1 -U postgres -Atc "{query}"'
    assert stack.inside("postgres", "bash", "-c", psql).split() == ["airflow|f", "mlflow|f"]


def test_a_role_cannot_open_the_others_database(stack):
    psql = 'PGPASSWORD="$MLFLOW_DB_PASSWORD" psql -h 127.0.0.1 -U mlflow -d airflow -Atc "SELECT 1"'
    with pytest.raises(AssertionError, match="permission denied for database"):
        stack.inside("postgres", "bash", "-c", psql)


def test_postgres_keeps_checksums_and_asks_for_a_scram_password(stack):
    show = "SHOW data_checksums; SHOW password_encryption"
    psql = f'PGPASSWORD="$POSTGRES_PASSWORD" psql -h 127.0.0.1 -U postgres -Atc "{show}"'
    assert stack.inside("postgres", "bash", "-c", psql).split() == ["on", "scram-sha-256"]
    with pytest.raises(AssertionError, match="no password supplied"):
        stack.inside(
            "postgres", "psql", "-w", "-h", "127.0.0.1", "-U", "postgres", "-c", "SELECT 1"
        )


def test_redis_asks_for_a_password_and_writes_the_queue_down(stack):
    with pytest.raises(AssertionError):
        assert stack.inside("redis", "env", "-u", "REDISCLI_AUTH", "redis-cli", "ping") == "PONG\n"
    config = stack.inside("redis", "redis-cli", "config", "get", "a*")
    assert "appendonly\nyes" in config
    assert "appendfsync\neverysec" in config
    policy = stack.inside("redis", "redis-cli", "config", "get", "maxmemory-policy")
    assert policy.split() == ["maxmemory-policy", "noeviction"]


def test_only_the_pages_listen_and_only_on_loopback(stack):
    published = re.findall(r"(\S+):(\d+)->", stack.containers("--format={{.Ports}}"))
    assert {address for address, _ in published} == {"127.0.0.1"}
    assert {port for _, port in published} == {stack.exported[name] for name in PORTS}


@pytest.mark.parametrize("compose", [["docker", "compose"], ["docker-compose"]])
def test_compose_works_by_hand_from_its_folder(stack, compose):
    done = run(*compose, "ps", "--services", cwd=stack.folder / "orchestration", check=True)
    assert set(done.stdout.split()) == SERVICES["docker"]


def test_containers_find_themselves_healthy(stack):
    # Their own checks come at intervals of up to a minute.
    deadline = time.monotonic() + 150
    shown = "--format={{.Names}} {{.Status}}"
    while "starting" in (listed := stack.containers(shown)) and time.monotonic() < deadline:
        time.sleep(2)
    assert listed.count("(healthy)") == len(SERVICES["docker"]), listed


def test_a_paused_redis_is_not_called_healthy(stack):
    project = stack.setting("COMPOSE_PROJECT_NAME")
    stack.well("docker", "pause", f"{project}-redis-1")
    try:
        deadline = time.monotonic() + 40
        while stack.health()["status"] == "healthy" and time.monotonic() < deadline:
            time.sleep(1)
        done = stack.run("inv", "health")
        assert done.returncode == 1
        assert "redis" in done.stdout
    finally:
        stack.well("docker", "unpause", f"{project}-redis-1")
    stack.well("inv", "up")


def test_a_hung_database_is_told_by_all_that_need_it(stack):
    """MLflow's /health and Airflow's HTTP 200 would go on as if nothing were."""
    postgres = stack.container("postgres")
    stack.well("docker", "pause", postgres)
    try:
        # Each is asked in its own time.
        until(lambda: hung(stack.said()) == {"postgres", "mlflow", "airflow-apiserver"}, 40)
        said = stack.said()
    finally:
        stack.well("docker", "unpause", postgres)
    assert said["airflow-scheduler"]["state"] == said["champion"]["state"] == "unknown"
    assert said["redis"]["state"] == "up"
    until(lambda: stack.health()["status"] == "healthy", 60)


def hung(said):
    return {n for n, one in said.items() if (one["state"], one["detail"]) == ("down", TOO_LATE)}


def test_a_worker_that_consumes_nothing_is_down_though_it_answers(stack):
    def ask(verb: str) -> None:
        code = "from airflow.providers.celery.executors.celery_executor import app as a; "
        stack.inside(
            "airflow-worker", "python", "-c", f"{code}a.control.{verb}_consumer('default')"
        )

    ask("cancel")
    try:
        until(lambda: stack.said()["airflow-worker"]["state"] == "down", 40)
        detail = stack.said()["airflow-worker"]["detail"]
    finally:
        ask("add")
    assert "a worker is connected but takes nothing from default" in detail
    until(lambda: stack.health()["status"] == "healthy", 40)


def test_the_status_page_s_account_may_only_count_in_redis(stack):
    for command in ("keys('*')", "set('a', 1)", "delete('default')", "lpush('default', 'x')"):
        code = f"import os, redis; redis.Redis.from_url(os.environ['REDIS_URL']).{command}"
        assert "NoPermission" in stack.as_status(code).stderr
