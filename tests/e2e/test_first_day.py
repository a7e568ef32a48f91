"""Up from nothing, proof, training, restart, down: in their order, on either engine."""

import ast
import json
import re
import subprocess

import psutil
import pytest
import requests

from tests.e2e.clone import ONE_SHOTS, PORTS, SERVICES, until


def test_up_from_nothing_ends_with_the_proof_and_the_addresses(stack):
    assert re.search(r"proof +queued [\d.]+ s, .*metric .*artifact .*model", stack.first_up)
    assert re.search(r"up and proven in \d+ s", stack.first_up)
    assert stack.url("STATUS_PORT") in stack.first_up


def test_training_registers_a_champion_and_says_how_good_it_is(stack):
    conf = '{"until": "2013-01"}'
    output = stack.well("inv", "trigger", "training_pipeline", "--conf", conf, "--wait")
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


def test_health_tells_each_service_and_machines_read_it(stack, engine):
    report = stack.health()
    assert report["status"] == "healthy", json.dumps(report, indent=1)
    assert report["engine"] == engine
    shown = SERVICES[engine] | (ONE_SHOTS if engine == "docker" else set())
    assert {s["name"] for s in report["services"]} == shown
    fields = {"name", "state", "healthy", "since", "restarts", "memory_bytes", "detail"}
    assert all(set(service) == fields for service in report["services"])
    assert {c["name"] for c in report["checks"]} == {"airflow-apiserver", "mlflow", "status"}


MARKERS = """
import asyncio, asyncpg, os
async def markers():
    opened = await asyncpg.connect(os.environ["DATABASE_URL"])
    comment = "SELECT shobj_description(oid, 'pg_database') FROM pg_database WHERE datname = $1"
    print([await opened.fetchval(comment, name) for name in ("airflow", "mlflow")])
asyncio.run(markers())
"""


def test_every_patch_is_active_in_both_environments(stack):
    noted = ast.literal_eval(stack.as_status(MARKERS).stdout)
    assert [json.loads(marker)["inactive_patches"] for marker in noted] == [{}, {}]
    assert "patches" not in stack.said()


def test_health_for_people_ends_with_0(stack, engine):
    assert f"healthy ({engine})" in stack.well("inv", "health")


def test_an_unknown_dag_is_one_line_and_exit_code_1(stack):
    done = stack.run("inv", "trigger", "trainig_pipeline", "--wait")
    assert done.returncode == 1
    assert "training_pipeline" in done.stderr
    assert "Traceback" not in done.stderr


def test_no_secret_stands_in_an_argument_list(stack):
    named = re.compile(r"^(\w*(?:PASSWORD|SECRET|KEY)\w*)=(\S+)", re.MULTILINE)
    secrets = dict(named.findall((stack.folder / ".env").read_text()))
    assert len(secrets) >= 8
    processes = ["ps", "-eo", "args", "-ww"]
    listed = subprocess.run(processes, capture_output=True, text=True, check=True).stdout
    assert "stack_runtime.airflow.service scheduler" in listed
    assert not [name for name, secret in secrets.items() if secret in listed]


def test_airflow_refuses_who_does_not_log_in(stack):
    answer = requests.get(stack.url("AIRFLOW_PORT") + "/api/v2/dags", timeout=10)
    assert answer.status_code == 401


@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize(
    ("header", "status"),
    [
        (("Host", "evil.example"), 403),
        (("Host", "localhost:{port}"), 200),
        (("Host", "localhost:1"), 403),
        (("Origin", "http://evil.example"), 403),
        (("Origin", "http://localhost:1"), 403),
        (("Origin", "null"), 403),
        (("Origin", "http://localhost:{port}"), 200),
    ],
)
def test_mlflow_refuses_a_foreign_name_and_a_foreign_page(stack, method, header, status):
    name, value = header
    given = {name: value.format(port=stack.exported["MLFLOW_PORT"])}
    asked = {"params" if method == "GET" else "json": {"max_results": 1}}
    answer = stack.mlflow(method, "experiments/search", headers=given, **asked)
    assert answer.status_code == status


PLACES = ("experiments/search", "registered-models/search", "users/list")
ARTIFACTS = "../mlflow-artifacts/artifacts"


@pytest.mark.parametrize("path", [*PLACES, f"{ARTIFACTS}?path=0", "../../../", "users/create"])
def test_mlflow_refuses_who_does_not_log_in_and_wrong_passwords(stack, path):
    address = f"{stack.url('MLFLOW_PORT')}/api/2.0/mlflow/{path}"
    for login in (None, ("admin", "wrong"), ("nobody", "wrong")):
        method = "POST" if path == "users/create" else "GET"
        assert requests.request(method, address, auth=login, timeout=30).status_code == 401


def test_the_status_page_s_account_reads_what_others_made_and_writes_nothing(stack):
    found = stack.mlflow("GET", "experiments/search", params={"max_results": 50}).json()
    assert "flight-delay" in {one["name"] for one in found["experiments"]}
    name = {"name": "of-the-reader"}
    for path in ("experiments/create", "registered-models/create", "runs/create"):
        assert stack.mlflow("POST", path, json=name).status_code == 403
    assert stack.mlflow("PUT", f"{ARTIFACTS}/0/x", data=b"x").status_code == 403


def test_what_one_account_makes_the_other_does_not_see(stack):
    given = {"password": "made up for this test"}  # pragma: allowlist secret
    ada = "ada-of-the-first-day"
    made = stack.mlflow("POST", "users/create", "admin", json={"username": ada, **given})
    assert made.status_code == 200
    address, login = f"{stack.url('MLFLOW_PORT')}/api/2.0/mlflow", (ada, given["password"])
    search = f"{address}/experiments/search?max_results=50"
    assert requests.get(search, auth=login, timeout=30).json() == {}
    own = f"{address}/experiments/create"
    made = requests.post(own, json={"name": "of-ada"}, auth=login, timeout=30)
    asked = {"experiment_id": made.json()["experiment_id"]}
    assert stack.mlflow("GET", "experiments/get", "worker", params=asked).status_code == 403
    assert stack.mlflow("GET", "experiments/get", "admin", params=asked).status_code == 200


def test_status_page_joins_what_the_services_say(stack, engine):
    document = requests.get(stack.url("STATUS_PORT") + "/status.json", timeout=10).json()
    assert document["status"] == "healthy"
    assert {s["name"] for s in document["services"]} == SERVICES[engine] - {"status"}
    page = requests.get(stack.url("STATUS_PORT"), timeout=10).text
    assert all(name in page for name in SERVICES[engine] - {"status"})


def test_status_page_tells_what_the_work_came_to(stack):
    told = ("canary", "training", "dag-files", "disk", "champion")
    # Each round shows a moment: the champion may be there before the run that made it has ended.
    until(lambda: {stack.said()[name]["state"] for name in told} == {"up"}, 20)
    said = stack.said()
    assert re.search(r"queued [\d.]+ s, client .* prune [\d.]+ s", said["canary"]["detail"])
    assert re.search(r"version 1, data to 2013-01, auc 0\.6\d+", said["champion"]["detail"])
    metrics = requests.get(stack.url("STATUS_PORT") + "/metrics", timeout=10).text
    assert re.search(r'^mlops_champion_metric{metric="auc"} 0\.6', metrics, re.MULTILINE)


def test_one_service_s_logs(stack):
    assert "account airflow" in stack.well("inv", "logs", "-s", "airflow-init")
    done = stack.run("inv", "logs", "-s", "airflow-websrever")
    assert done.returncode == 1
    assert "airflow-apiserver" in done.stderr


def test_a_new_champion_is_looked_at(stack):
    (run,) = stack.await_runs("monitoring_pipeline", 180)
    assert (run["run_type"], run["state"]) == ("asset_triggered", "success")
    until(lambda: stack.said()["drift"]["state"] == "up", 20)
    assert re.match(r"2013-01: \d+% of the columns", stack.said()["drift"]["detail"])


def test_a_restart_of_all_keeps_runs_and_models(stack):
    before, models = stack.since(), stack.registered()
    assert re.search(r"restarted and proven in \d+ s", stack.well("inv", "restart"))
    after = stack.since()
    assert {name for name in before if after[name] > before[name]} == set(before)
    assert stack.registered() == models
    assert [run["state"] for run in stack.await_runs("training_pipeline", 5)] == ["success"]


def test_down_leaves_no_process_no_container_and_no_port(stack, engine):
    stack.by_unit("ExecStop")
    assert {service["state"] for service in stack.health()["services"]} == {"absent"}
    assert not (stack.processes() if engine == "standalone" else stack.containers("-aq"))
    ports = {int(stack.exported[name]) for name in PORTS}
    open_ports = psutil.net_connections("tcp")
    assert not ports & {c.laddr.port for c in open_ports if c.status == psutil.CONN_LISTEN}
