"""The real stack on Docker, in the order of a first day; each test leaves it running."""

import json
import re
import subprocess
import time

import pytest
import requests

LONG_RUNNING = {
    "postgres",
    "redis",
    "airflow-apiserver",
    "airflow-scheduler",
    "airflow-dag-processor",
    "airflow-worker",
    "airflow-triggerer",
    "mlflow",
    "status",
}


def registered(stack):
    """Versions of the flight model as MLflow's registry lists them."""
    answer = requests.post(
        stack.url("MLFLOW_PORT") + "/api/2.0/mlflow/registered-models/search", json={}, timeout=10
    )
    if answer.status_code == 405:
        answer = requests.get(
            stack.url("MLFLOW_PORT") + "/api/2.0/mlflow/registered-models/search", timeout=10
        )
    models = answer.json().get("registered_models", [])
    return [v for model in models for v in model.get("latest_versions", [])]


def test_up_from_nothing_ends_with_the_proof_and_the_addresses(stack):
    assert re.search(r"proof +queued [\d.]+ s, .*metric .*artifact .*model", stack.first_up)
    assert re.search(r"up and proven in \d+ s", stack.first_up)
    assert stack.url("STATUS_PORT") in stack.first_up


def test_env_is_private_and_complete(stack):
    assert (stack.folder / ".env").stat().st_mode & 0o777 == 0o600
    assert stack.setting("STACK_ENGINE") == "docker"
    assert len(stack.setting("AIRFLOW_JWT_SECRET")) >= 32


def test_health_tells_each_service_and_machines_read_it(stack):
    report = stack.health()
    assert report["status"] == "healthy", json.dumps(report, indent=1)
    assert report["engine"] == "docker"
    assert {s["name"] for s in report["services"]} == LONG_RUNNING | {
        "airflow-init",
        "mlflow-migrate",
    }
    fields = {"name", "state", "healthy", "since", "restarts", "memory_bytes", "detail"}
    assert all(set(service) == fields for service in report["services"])
    assert {c["name"] for c in report["checks"]} == {"airflow-apiserver", "mlflow", "status"}


def test_health_for_people_ends_with_0(stack):
    assert "healthy (docker)" in stack.well("inv", "health")


def test_training_registers_a_model_version_with_metrics(stack):
    output = stack.well("inv", "trigger", "training_pipeline", "--wait")
    assert "success" in output
    (version,) = registered(stack)
    run = requests.get(
        stack.url("MLFLOW_PORT") + "/api/2.0/mlflow/runs/get",
        params={"run_id": version["run_id"]},
        timeout=10,
    ).json()["run"]
    metrics = {metric["key"]: metric["value"] for metric in run["data"]["metrics"]}
    assert any("auc" in name and 0.6 < value < 1 for name, value in metrics.items()), metrics
    assert run["data"]["params"]


def test_an_unknown_dag_is_one_line_and_exit_code_1(stack):
    done = stack.run("inv", "trigger", "trainig_pipeline", "--wait")
    assert done.returncode == 1
    assert "training_pipeline" in done.stderr
    assert "Traceback" not in done.stderr


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


def test_no_secret_stands_in_an_argument_list(stack):
    named = re.compile(r"^(\w*(?:PASSWORD|SECRET|KEY)\w*)=(\S+)", re.MULTILINE)
    secrets = dict(named.findall((stack.folder / ".env").read_text()))
    assert len(secrets) >= 8
    processes = ["ps", "-eo", "args", "-ww"]
    listed = subprocess.run(processes, capture_output=True, text=True, check=True).stdout
    assert "airflow scheduler" in listed
    assert not [name for name, secret in secrets.items() if secret in listed]


def test_only_the_pages_listen_and_only_on_loopback(stack):
    project = stack.setting("COMPOSE_PROJECT_NAME")
    listed = stack.well(
        "docker",
        "ps",
        f"--filter=label=com.docker.compose.project={project}",
        "--format={{.Ports}}",
    )
    published = re.findall(r"(\S+):(\d+)->", listed)
    assert {address for address, _ in published} == {"127.0.0.1"}
    assert {port for _, port in published} == set(stack.ports.values())


def test_airflow_refuses_who_does_not_log_in(stack):
    answer = requests.get(stack.url("AIRFLOW_PORT") + "/api/v2/dags", timeout=10)
    assert answer.status_code == 401


def test_mlflow_refuses_a_foreign_host_header(stack):
    for host, status in (("evil.example", 403), (f"localhost:{stack.ports['MLFLOW_PORT']}", 200)):
        answer = requests.get(
            stack.url("MLFLOW_PORT")
            + "/api/2.0/mlflow/experiments/get-by-name?experiment_name=Default",
            headers={"Host": host},
            timeout=10,
        )
        assert answer.status_code == status, host


def test_status_page_joins_what_the_services_say(stack):
    document = requests.get(stack.url("STATUS_PORT") + "/status.json", timeout=10).json()
    assert document["status"] == "healthy"
    assert {s["name"] for s in document["services"]} == LONG_RUNNING - {"status"}
    page = requests.get(stack.url("STATUS_PORT"), timeout=10).text
    assert all(name in page for name in LONG_RUNNING - {"status"})


@pytest.mark.parametrize("compose", [["docker", "compose"], ["docker-compose"]])
def test_compose_works_by_hand_from_its_folder(stack, compose):
    done = subprocess.run(
        [*compose, "ps", "--services"],
        cwd=stack.folder / "orchestration",
        capture_output=True,
        text=True,
        check=True,
    )
    assert set(done.stdout.split()) == LONG_RUNNING


def test_containers_find_themselves_healthy(stack):
    # Their own checks come at intervals of up to a minute.
    deadline = time.monotonic() + 150
    project = stack.setting("COMPOSE_PROJECT_NAME")
    command = (
        "docker",
        "ps",
        f"--filter=label=com.docker.compose.project={project}",
        "--format={{.Names}} {{.Status}}",
    )
    while "starting" in (listed := stack.well(*command)) and time.monotonic() < deadline:
        time.sleep(2)
    assert listed.count("(healthy)") == len(LONG_RUNNING), listed


def test_one_service_s_logs(stack):
    assert "account airflow" in stack.well("inv", "logs", "-s", "airflow-init")
    done = stack.run("inv", "logs", "-s", "airflow-websrever")
    assert done.returncode == 1
    assert "airflow-apiserver" in done.stderr


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


def test_a_second_clone_beside_it_touches_nothing(stack, second_clone):
    before = {s["name"]: s["since"] for s in stack.health()["services"]}
    second_clone.well("inv", "up")
    assert registered(second_clone) == []
    second_clone.well("inv", "down", "--volumes", "--yes")
    after = stack.health()
    assert after["status"] == "healthy"
    assert {s["name"]: s["since"] for s in after["services"]} == before
    assert len(registered(stack)) == 1


def test_a_taken_port_is_refused_before_anything_starts(stack, second_clone):
    done = second_clone.run("inv", "up", AIRFLOW_PORT=stack.ports["AIRFLOW_PORT"])
    assert done.returncode == 1
    assert f"port {stack.ports['AIRFLOW_PORT']}" in done.stderr
    assert not any(s["state"] == "running" for s in second_clone.health()["services"])


def test_an_init_that_fails_is_told_with_its_log(stack, second_clone):
    second_clone.well("inv", "up", "--no-proof")
    second_clone.well("inv", "down")
    done = second_clone.run("inv", "up", AIRFLOW_DB_PASSWORD="not-the-password")
    assert done.returncode == 1
    assert "password authentication failed" in done.stderr
    assert "airflow-init" in done.stderr


def test_a_lost_env_with_data_left_is_refused(stack, second_clone):
    env = second_clone.folder / ".env"
    kept = env.read_text()
    second_clone.well("inv", "down")
    env.unlink()
    try:
        done = second_clone.run("inv", "up")
        assert done.returncode == 1
        assert "inv down --volumes --yes" in done.stderr
        assert not env.exists()
    finally:
        env.write_text(kept)


def test_down_and_up_keep_runs_and_models(stack):
    before = registered(stack)
    stack.well("inv", "down")
    project = stack.setting("COMPOSE_PROJECT_NAME")
    left = stack.well("docker", "ps", "-aq", f"--filter=label=com.docker.compose.project={project}")
    assert left == ""
    stack.well("inv", "up")
    assert registered(stack) == before
    token = requests.post(
        stack.url("AIRFLOW_PORT") + "/auth/token",
        json={"username": "airflow", "password": stack.setting("_AIRFLOW_WWW_USER_PASSWORD")},
        timeout=10,
    ).json()["access_token"]
    runs = requests.get(
        stack.url("AIRFLOW_PORT") + "/api/v2/dags/training_pipeline/dagRuns",
        headers={"Authorization": f"Bearer {token}"},
        timeout=10,
    ).json()["dag_runs"]
    assert [run["state"] for run in runs] == ["success"]
