"""What only Docker has: containers, images, volumes, Compose by hand."""

import re
import subprocess
import time

import pytest

from tests.smoke.clone import PORTS, SERVICES


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
    done = subprocess.run(
        [*compose, "ps", "--services"],
        cwd=stack.folder / "orchestration",
        capture_output=True,
        text=True,
        check=True,
    )
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
