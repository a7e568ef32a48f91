"""The real stack in the order of a first day, on either engine; each test leaves it running."""

import json
import re
import subprocess

import requests

from tests.smoke.conftest import ONE_SHOTS, SERVICES


def test_up_from_nothing_ends_with_the_proof_and_the_addresses(stack):
    assert re.search(r"proof +queued [\d.]+ s, .*metric .*artifact .*model", stack.first_up)
    assert re.search(r"up and proven in \d+ s", stack.first_up)
    assert stack.url("STATUS_PORT") in stack.first_up


def test_env_is_private_and_complete(stack, engine):
    assert (stack.folder / ".env").stat().st_mode & 0o777 == 0o600
    assert stack.setting("STACK_ENGINE") == engine
    assert len(stack.setting("AIRFLOW_JWT_SECRET")) >= 32


def test_health_tells_each_service_and_machines_read_it(stack, engine):
    report = stack.health()
    assert report["status"] == "healthy", json.dumps(report, indent=1)
    assert report["engine"] == engine
    assert {s["name"] for s in report["services"]} == SERVICES[engine] | ONE_SHOTS[engine]
    fields = {"name", "state", "healthy", "since", "restarts", "memory_bytes", "detail"}
    assert all(set(service) == fields for service in report["services"])
    assert {c["name"] for c in report["checks"]} == {"airflow-apiserver", "mlflow", "status"}


def test_health_for_people_ends_with_0(stack, engine):
    assert f"healthy ({engine})" in stack.well("inv", "health")


def test_deep_health_adds_the_canary_for_machines_too(stack):
    report = json.loads(stack.well("inv", "health", "--json", "--deep"))
    assert report["checks"][-1]["name"] == "canary"
    assert report["checks"][-1]["healthy"]


def test_a_hundred_mapped_tasks_all_succeed_at_their_first_try(stack):
    output = stack.well("inv", "trigger", "hundred", "--wait")
    run_id = re.search(r"run (\S+) started", output)[1]
    path = f"/api/v2/dags/hundred/dagRuns/{run_id}/taskInstances?limit=200"
    tasks = stack.airflow(path)["task_instances"]
    assert len(tasks) == 100
    assert {(task["state"], task["try_number"]) for task in tasks} == {("success", 1)}


def test_training_registers_a_champion_and_says_how_good_it_is(stack):
    conf = '{"until": "2013-01"}'
    output = stack.well("inv", "trigger", "training_pipeline", "--conf", conf, "--wait")
    assert re.search(r"champion +version 1 .*auc 0\.6\d+", output)
    assert f"{stack.url('MLFLOW_PORT')}/#/models/flight-delay" in output
    champion = stack.alias("champion")
    run = requests.get(
        stack.url("MLFLOW_PORT") + "/api/2.0/mlflow/runs/get",
        params={"run_id": champion["run_id"]},
        timeout=10,
    ).json()["run"]
    metrics = {metric["key"]: metric["value"] for metric in run["data"]["metrics"]}
    assert 0.6 < metrics["auc"] < 1, metrics
    tags = {tag["key"]: tag["value"] for tag in run["data"]["tags"]}
    assert {"data_sha256", "code_version", "verdict"} <= set(tags)


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
    assert "airflow scheduler" in listed
    assert not [name for name, secret in secrets.items() if secret in listed]


def test_airflow_refuses_who_does_not_log_in(stack):
    answer = requests.get(stack.url("AIRFLOW_PORT") + "/api/v2/dags", timeout=10)
    assert answer.status_code == 401


def test_mlflow_refuses_a_foreign_host_header(stack):
    for host, status in (
        ("evil.example", 403),
        (f"localhost:{stack.exported['MLFLOW_PORT']}", 200),
    ):
        answer = requests.get(
            stack.url("MLFLOW_PORT")
            + "/api/2.0/mlflow/experiments/get-by-name?experiment_name=Default",
            headers={"Host": host},
            timeout=10,
        )
        assert answer.status_code == status, host


def test_status_page_joins_what_the_services_say(stack, engine):
    document = requests.get(stack.url("STATUS_PORT") + "/status.json", timeout=10).json()
    assert document["status"] == "healthy"
    assert {s["name"] for s in document["services"]} == SERVICES[engine] - {"status"}
    page = requests.get(stack.url("STATUS_PORT"), timeout=10).text
    assert all(name in page for name in SERVICES[engine] - {"status"})


def test_one_service_s_logs(stack):
    assert "account airflow" in stack.well("inv", "logs", "-s", "airflow-init")
    done = stack.run("inv", "logs", "-s", "airflow-websrever")
    assert done.returncode == 1
    assert "airflow-apiserver" in done.stderr


def test_a_second_clone_beside_it_touches_nothing(stack, second_clone):
    before = {s["name"]: s["since"] for s in stack.health()["services"]}
    second_clone.well("inv", "up")
    assert second_clone.registered() == []
    second_clone.well("inv", "down", "--volumes", "--yes")
    after = stack.health()
    assert after["status"] == "healthy"
    assert {s["name"]: s["since"] for s in after["services"]} == before
    assert len(stack.registered()) == 1


def test_a_taken_port_is_refused_before_anything_starts(stack, second_clone):
    done = second_clone.run("inv", "up", AIRFLOW_PORT=stack.exported["AIRFLOW_PORT"])
    assert done.returncode == 1
    assert f"port {stack.exported['AIRFLOW_PORT']}" in done.stderr
    assert str(stack.folder) in done.stderr, "which clone holds it"
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


def test_down_and_up_keep_runs_and_models(stack, engine):
    before = stack.registered()
    stack.well("inv", "down")
    states = {service["state"] for service in stack.health()["services"]}
    assert states == {"absent"}
    stack.well("inv", "up")
    assert stack.registered() == before
    runs = stack.airflow("/api/v2/dags/training_pipeline/dagRuns")["dag_runs"]
    assert [run["state"] for run in runs] == ["success"]
