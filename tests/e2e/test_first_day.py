"""Start a stack from nothing, train, check access, restart and stop, in order, on either engine."""

import ast
import json
import re
import subprocess

import psutil
import pytest
import requests

from tests.e2e.clone import INIT_JOBS, PORTS, SERVICES, until


def test_first_up_prints_canary_and_addresses(stack):
    assert re.search(r"canary +queued [\d.]+ s, .*metric .*artifact .*model", stack.first_up)
    assert re.search(r"Started and verified in \d+ s", stack.first_up)
    assert stack.url("STATUS_PORT") in stack.first_up


@pytest.mark.example
def test_training_registers_champion_with_metrics(stack):
    conf = '{"until": "2013-01"}'
    output = stack.run_ok("inv", "trigger", "training_pipeline", "--conf", conf, "--wait")
    assert re.search(r"champion +version 1 .*auc 0\.6\d+", output)
    assert f"{stack.url('MLFLOW_PORT')}/#/models/flight-delay" in output
    champion = stack.alias("champion")
    run = stack.mlflow("GET", "runs/get", params={"run_id": champion["run_id"]}).json()["run"]
    metrics = {metric["key"]: metric["value"] for metric in run["data"]["metrics"]}
    assert 0.6 < metrics["auc"] < 1, metrics
    tags = {tag["key"]: tag["value"] for tag in run["data"]["tags"]}
    assert {"data_sha256", "code_version", "verdict"} <= set(tags)


def test_env_is_private_and_complete(stack, engine):
    assert (stack.folder / ".env").stat().st_mode & 0o777 == 0o600
    assert stack.setting("STACK_ENGINE") == engine
    assert len(stack.setting("AIRFLOW_JWT_SECRET")) >= 32


def test_health_json_lists_all_services(stack, engine):
    report = stack.health()
    assert report["status"] == "healthy", json.dumps(report, indent=1)
    assert report["engine"] == engine
    names = SERVICES[engine] | (INIT_JOBS if engine == "docker" else set())
    assert {s["name"] for s in report["services"]} == names
    fields = {"name", "state", "healthy", "since", "restarts", "memory_bytes", "detail"}
    assert all(set(service) == fields for service in report["services"])
    assert {c["name"] for c in report["checks"]} == {"airflow-apiserver", "mlflow", "status"}


MARKERS = """
import asyncio, asyncpg, os
async def markers():
    connection = await asyncpg.connect(os.environ["DATABASE_URL"])
    comment = "SELECT shobj_description(oid, 'pg_database') FROM pg_database WHERE datname = $1"
    print([await connection.fetchval(comment, name) for name in ("airflow", "mlflow")])
asyncio.run(markers())
"""


def test_all_patches_are_active(stack):
    markers = ast.literal_eval(stack.run_as_status(MARKERS).stdout)
    assert [json.loads(marker)["inactive_patches"] for marker in markers] == [{}, {}]
    assert "patches" not in stack.status_page()


def test_health_exits_with_0(stack, engine):
    assert f"healthy ({engine})" in stack.run_ok("inv", "health")


@pytest.mark.example
def test_trigger_unknown_dag_suggests_name(stack):
    done = stack.run("inv", "trigger", "trainig_pipeline", "--wait")
    assert done.returncode == 1
    assert "training_pipeline" in done.stderr
    assert "Traceback" not in done.stderr


def test_no_secret_is_in_command_lines(stack):
    secret_line = re.compile(r"^(\w*(?:PASSWORD|SECRET|KEY)\w*)=(\S+)", re.MULTILINE)
    secrets = dict(secret_line.findall((stack.folder / ".env").read_text()))
    assert len(secrets) >= 8
    processes = ["ps", "-eo", "args", "-ww"]
    output = subprocess.run(processes, capture_output=True, text=True, check=True).stdout
    assert "stack_runtime.airflow.service scheduler" in output
    assert not [name for name, secret in secrets.items() if secret in output]


def test_airflow_api_requires_login(stack):
    answer = requests.get(stack.url("AIRFLOW_PORT") + "/api/v2/dags", timeout=10)
    assert answer.status_code == 401


@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize(
    ("header", "status"),
    [
        (("Host", "evil.example"), 403),
        (("Host", "localhost:{port}"), 200),
        # As through a tunnel.
        (("Host", "localhost:1"), 200),
        (("Origin", "http://evil.example"), 403),
        (("Origin", "http://localhost:1"), 403),
        (("Origin", "null"), 403),
        (("Origin", "http://localhost:{port}"), 200),
    ],
)
def test_mlflow_rejects_foreign_host_and_origin(stack, method, header, status):
    name, value = header
    headers = {name: value.format(port=stack.exported["MLFLOW_PORT"])}
    query = {"params" if method == "GET" else "json": {"max_results": 1}}
    answer = stack.mlflow(method, "experiments/search", headers=headers, **query)
    assert answer.status_code == status


PATHS = ("experiments/search", "registered-models/search", "users/list")
ARTIFACTS = "../mlflow-artifacts/artifacts"


@pytest.mark.parametrize("path", [*PATHS, f"{ARTIFACTS}?path=0", "../../../", "users/create"])
def test_mlflow_rejects_missing_and_wrong_password(stack, path):
    address = f"{stack.url('MLFLOW_PORT')}/api/2.0/mlflow/{path}"
    for credentials in (None, ("admin", "wrong"), ("nobody", "wrong")):
        method = "POST" if path == "users/create" else "GET"
        assert requests.request(method, address, auth=credentials, timeout=30).status_code == 401


@pytest.mark.example
def test_status_account_of_mlflow_is_read_only(stack):
    document = stack.mlflow("GET", "experiments/search", params={"max_results": 50}).json()
    assert "flight-delay" in {experiment["name"] for experiment in document["experiments"]}
    name = {"name": "of-the-status-page"}
    for path in ("experiments/create", "registered-models/create", "runs/create"):
        assert stack.mlflow("POST", path, json=name).status_code == 403
    assert stack.mlflow("PUT", f"{ARTIFACTS}/0/x", data=b"x").status_code == 403


def test_mlflow_account_cannot_see_data_of_others(stack):
    new = {"password": "made up for this test"}  # pragma: allowlist secret
    ada = "ada-of-the-first-day"
    answer = stack.mlflow("POST", "users/create", "admin", json={"username": ada, **new})
    assert answer.status_code == 200
    address, login = f"{stack.url('MLFLOW_PORT')}/api/2.0/mlflow", (ada, new["password"])
    search = f"{address}/experiments/search?max_results=50"
    assert requests.get(search, auth=login, timeout=30).json() == {}
    create = f"{address}/experiments/create"
    answer = requests.post(create, json={"name": "of-ada"}, auth=login, timeout=30)
    params = {"experiment_id": answer.json()["experiment_id"]}
    assert stack.mlflow("GET", "experiments/get", "worker", params=params).status_code == 403
    assert stack.mlflow("GET", "experiments/get", "admin", params=params).status_code == 200


def test_status_page_lists_all_services(stack, engine):
    document = requests.get(stack.url("STATUS_PORT") + "/status.json", timeout=10).json()
    assert document["status"] == "healthy"
    assert {s["name"] for s in document["services"]} == SERVICES[engine] - {"status"}
    page = requests.get(stack.url("STATUS_PORT"), timeout=10).text
    assert all(name in page for name in SERVICES[engine] - {"status"})


@pytest.mark.example
def test_status_page_shows_results_of_work(stack):
    names = ("canary", "training", "dag-files", "disk", "champion")
    # The page may show the champion before the run that trained it has finished.
    until(lambda: {stack.status_page()[name]["state"] for name in names} == {"up"}, 20)
    page = stack.status_page()
    assert re.search(r"queued [\d.]+ s, client .* prune [\d.]+ s", page["canary"]["detail"])
    assert re.search(r"version 1, data to 2013-01, auc 0\.6\d+", page["champion"]["detail"])
    metrics = requests.get(stack.url("STATUS_PORT") + "/metrics", timeout=10).text
    assert re.search(
        r'^mlops_champion_metric{metric="auc",problem="flight-delay"} 0\.6', metrics, re.MULTILINE
    )


def test_logs_of_one_service(stack):
    assert "Account airflow" in stack.run_ok("inv", "logs", "-s", "airflow-init")
    done = stack.run("inv", "logs", "-s", "airflow-websrever")
    assert done.returncode == 2
    assert "airflow-apiserver" in done.stderr


@pytest.mark.example
def test_new_champion_starts_monitoring(stack):
    (run,) = stack.await_runs("monitoring_pipeline", 180)
    assert (run["run_type"], run["state"]) == ("asset_triggered", "success")
    until(lambda: stack.status_page()["drift"]["state"] == "up", 20)
    assert re.match(r"2013-01: \d+% of the columns", stack.status_page()["drift"]["detail"])


@pytest.mark.example
def test_restart_of_all_keeps_runs_and_models(stack):
    before, models = stack.start_times(), stack.latest_versions()
    assert re.search(r"Restarted and verified in \d+ s", stack.run_ok("inv", "restart"))
    after = stack.start_times()
    assert {name for name in before if after[name] > before[name]} == set(before)
    assert stack.latest_versions() == models
    assert [run["state"] for run in stack.await_runs("training_pipeline", 5)] == ["success"]


def test_down_leaves_no_process_container_or_port(stack, engine):
    stack.run_unit_command("ExecStop")
    assert {service["state"] for service in stack.health()["services"]} == {"absent"}
    assert not (stack.processes() if engine == "standalone" else stack.containers("-aq"))
    ports = {int(stack.exported[name]) for name in PORTS}
    open_ports = psutil.net_connections("tcp")
    assert not ports & {c.laddr.port for c in open_ports if c.status == psutil.CONN_LISTEN}
