"""Test what only Docker has: containers, their network, and Compose commands typed by hand."""

import re
import time

import pytest

from tests.e2e.clone import PORTS, SERVICES, until
from tests.support.process import run

TOO_LATE = "no answer within 2 s"


def test_database_roles_are_not_superusers(stack):
    query = (
        "SELECT rolname, rolsuper FROM pg_roles WHERE rolname IN ('airflow', 'mlflow') ORDER BY 1"
    )
    psql = f'PGPASSWORD="$POSTGRES_PASSWORD" psql -h 127.0.0.1 -U postgres -Atc "{query}"'
    assert stack.exec_in("postgres", "bash", "-c", psql).split() == ["airflow|f", "mlflow|f"]


def test_role_cannot_connect_to_other_database(stack):
    psql = 'PGPASSWORD="$MLFLOW_DB_PASSWORD" psql -h 127.0.0.1 -U mlflow -d airflow -Atc "SELECT 1"'
    with pytest.raises(AssertionError, match="permission denied for database"):
        stack.exec_in("postgres", "bash", "-c", psql)


def test_postgres_uses_checksums_and_scram_passwords(stack):
    show = "SHOW data_checksums; SHOW password_encryption"
    psql = f'PGPASSWORD="$POSTGRES_PASSWORD" psql -h 127.0.0.1 -U postgres -Atc "{show}"'
    assert stack.exec_in("postgres", "bash", "-c", psql).split() == ["on", "scram-sha-256"]
    with pytest.raises(AssertionError, match="no password supplied"):
        stack.exec_in(
            "postgres", "psql", "-w", "-h", "127.0.0.1", "-U", "postgres", "-c", "SELECT 1"
        )


def test_redis_requires_password_and_persists_queue(stack):
    with pytest.raises(AssertionError):
        assert stack.exec_in("redis", "env", "-u", "REDISCLI_AUTH", "redis-cli", "ping") == "PONG\n"
    config = stack.exec_in("redis", "redis-cli", "config", "get", "a*")
    assert "appendonly\nyes" in config
    assert "appendfsync\neverysec" in config
    policy = stack.exec_in("redis", "redis-cli", "config", "get", "maxmemory-policy")
    assert policy.split() == ["maxmemory-policy", "noeviction"]


def test_only_pages_are_published_and_only_on_loopback(stack):
    published = re.findall(r"(\S+):(\d+)->", stack.containers("--format={{.Ports}}"))
    assert {address for address, _ in published} == {"127.0.0.1"}
    assert {port for _, port in published} == {stack.exported[name] for name in PORTS}


@pytest.mark.parametrize("compose", [["docker", "compose"], ["docker-compose"]])
def test_compose_works_in_its_folder(stack, compose):
    done = run(*compose, "ps", "--services", cwd=stack.folder / "orchestration", check=True)
    assert set(done.stdout.split()) == SERVICES["docker"]


def test_health_checks_of_containers_pass(stack):
    # The checks run at intervals of up to a minute.
    deadline = time.monotonic() + 150
    template = "--format={{.Names}} {{.Status}}"
    while "starting" in (listed := stack.containers(template)) and time.monotonic() < deadline:
        time.sleep(2)
    assert listed.count("(healthy)") == len(SERVICES["docker"]), listed


def test_paused_redis_is_reported(stack):
    project = stack.setting("COMPOSE_PROJECT_NAME")
    stack.run_ok("docker", "pause", f"{project}-redis-1")
    try:
        deadline = time.monotonic() + 40
        while stack.health()["status"] == "healthy" and time.monotonic() < deadline:
            time.sleep(1)
        done = stack.run("inv", "health")
        assert done.returncode == 1
        assert "redis" in done.stdout
    finally:
        stack.run_ok("docker", "unpause", f"{project}-redis-1")
    stack.run_ok("inv", "up")


def test_paused_postgres_is_reported_with_its_dependents(stack):
    """MLflow's /health and Airflow's HTTP 200 alone would not show it."""
    postgres = stack.container("postgres")
    stack.run_ok("docker", "pause", postgres)
    try:
        # The status page probes each service at its own interval.
        until(lambda: hung(stack.status_page()) == {"postgres", "mlflow", "airflow-apiserver"}, 40)
        page = stack.status_page()
    finally:
        stack.run_ok("docker", "unpause", postgres)
    assert page["airflow-scheduler"]["state"] == page["canary"]["state"] == "unknown"
    assert page["redis"]["state"] == "up"
    until(lambda: stack.health()["status"] == "healthy", 60)


def hung(page):
    """Return the services that did not answer in time."""
    states = {name: (entry["state"], entry["detail"]) for name, entry in page.items()}
    return {name for name, state in states.items() if state == ("down", TOO_LATE)}


def test_worker_without_queue_is_down_although_it_answers(stack):
    def control_consumer(verb: str) -> None:
        code = "from airflow.providers.celery.executors.celery_executor import app as a; "
        stack.exec_in(
            "airflow-worker", "python", "-c", f"{code}a.control.{verb}_consumer('default')"
        )

    control_consumer("cancel")
    try:
        until(lambda: stack.status_page()["airflow-worker"]["state"] == "down", 40)
        detail = stack.status_page()["airflow-worker"]["detail"]
    finally:
        control_consumer("add")
    assert "a worker is connected but takes no tasks from queue default" in detail
    until(lambda: stack.health()["status"] == "healthy", 40)


def test_status_account_can_only_count_in_redis(stack):
    for command in ("keys('*')", "set('a', 1)", "delete('default')", "lpush('default', 'x')"):
        code = f"import os, redis; redis.Redis.from_url(os.environ['REDIS_URL']).{command}"
        assert "NoPermission" in stack.run_as_status(code).stderr
