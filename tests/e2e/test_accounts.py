"""Use the stack as colleagues whom `inv accounts` gave an account, on either engine."""

import re
import time

import pytest
import requests

from tests.e2e import access
from tests.e2e.faults import trigger

API = "/api/2.0/mlflow"
# What the page in docs/how-to says a colleague can do.
READ = """
import mlflow
model = mlflow.pyfunc.load_model("models:/flight-delay@champion")
print("loaded", model.metadata.run_id)
print("runs", len(mlflow.search_runs(search_all_experiments=True)))
"""
RACE = """
import sys, mlflow
from concurrent.futures import ProcessPoolExecutor
def one(name):
    mlflow.set_experiment(name)
    with mlflow.start_run() as run:
        mlflow.log_metric("m", 1)
        mlflow.log_text("x", "x.txt")
    return run.info.experiment_id
for k in range(3):
    with ProcessPoolExecutor(8) as pool:
        assert len(set(pool.map(one, [f"race-{k}"] * 8))) == 1
print("raced")
"""
MIB = 2**20


@pytest.fixture(scope="module")
def people(stack):
    """Train a model, add a reader and a writer, and return their passwords."""
    if not stack.alias("champion"):
        trigger(stack, "training_pipeline", "--wait", conf='{"until": "2013-01"}')
    passwords = {}
    for name, role in (("ada", "reader"), ("grace", "writer")):
        output = stack.run_ok("inv", "accounts", "--add", name, "--role", role)
        [passwords[name]] = re.findall(r"shown only now: (\S+)", output)
    yield passwords
    for name in passwords:
        stack.run_ok("inv", "accounts", "--remove", name)


def run_as(stack, people, name, code):
    """Run MLflow's client as an account, and return its exit code and output."""
    environment = "import os; os.environ.update(MLFLOW_TRACKING_USERNAME={!r}, {})\n".format(
        name, f"MLFLOW_TRACKING_PASSWORD={people[name]!r}"
    )
    # On standard input, so that the password is not an argument.
    process = access.start_python(stack, "airflow-client", environment + code)
    output, errors = process.communicate(timeout=300)
    return process.returncode, output + errors


@pytest.fixture(autouse=True)
def client(stack, monkeypatch):
    """Let `access.start_python` run the client with the packages of Airflow's image."""
    server = ("airflow-scheduler", "airflow")
    monkeypatch.setitem(access.SERVERS, "airflow-client", server)


def test_list_shows_both_without_passwords(stack, people):
    output = stack.run_ok("inv", "accounts")
    assert re.search(r"^ada +reader", output, re.MULTILINE)
    assert re.search(r"^grace +writer", output, re.MULTILINE)
    assert not [password for password in people.values() if password in output]


@pytest.mark.parametrize("name", ["ada", "grace"])
def test_colleague_loads_the_champion_and_sees_runs(stack, people, name):
    code, output = run_as(stack, people, name, READ)
    assert code == 0, output
    assert f"loaded {stack.alias('champion')['run_id']}" in output
    assert int(re.search(r"runs (\d+)", output)[1]) > 0


def test_reader_cannot_write(stack, people):
    code, output = run_as(stack, people, "ada", 'import mlflow; mlflow.set_experiment("of ada")')
    assert code == 1
    assert "this account is read-only" in output
    code, output = run_as(
        stack,
        people,
        "ada",
        'import mlflow; mlflow.MlflowClient().delete_registered_model("flight-delay")',
    )
    assert code == 1
    assert stack.alias("champion")


def test_new_experiment_of_many_processes(stack, people):
    code, output = run_as(stack, people, "grace", RACE)
    assert code == 0, output
    assert "raced" in output


def test_run_without_an_experiment_says_what_to_do(stack, people):
    code, output = run_as(stack, people, "grace", "import mlflow; mlflow.start_run()")
    assert code == 1
    assert 'mlflow.set_experiment("NAME")' in output


def test_removed_account_is_refused_at_once(stack, people):
    output = stack.run_ok("inv", "accounts", "--add", "short-lived")
    [password] = re.findall(r"shown only now: (\S+)", output)
    address = f"{stack.url('MLFLOW_PORT')}{API}/users/current"
    login = {"auth": ("short-lived", password), "timeout": 30}
    assert requests.get(address, **login).status_code == 200
    stack.run_ok("inv", "accounts", "--remove", "short-lived")
    assert requests.get(address, **login).status_code == 401


def test_airflow_viewer_can_log_in_and_change_nothing(stack, people):
    output = stack.run_ok("inv", "accounts", "--add", "visitor", "--airflow")
    [password] = re.findall(r"shown only now: (\S+)", output)
    assert re.search(
        r"^visitor +reader +Viewer", stack.run_ok("inv", "accounts", "--airflow"), re.M
    )
    address, login = stack.url("AIRFLOW_PORT"), {"username": "visitor", "password": password}
    token = requests.post(f"{address}/auth/token", json=login, timeout=30).json()
    headers = {"Authorization": f"Bearer {token['access_token']}"}
    options = {"headers": headers, "timeout": 30}
    assert requests.get(f"{address}/api/v2/dags", **options).status_code == 200
    runs = f"{address}/api/v2/dags/canary/dagRuns"
    answer = requests.post(runs, json={"logical_date": None}, **options)
    assert answer.status_code == 403
    stack.run_ok("inv", "accounts", "--remove", "visitor", "--airflow")
    assert "visitor" not in stack.run_ok("inv", "accounts", "--airflow")


@pytest.mark.parametrize("host", ["localhost:15000", "127.0.0.1:15000", "[::1]:15000"])
def test_tunnel_of_any_port_works_also_for_the_page(stack, people, host):
    for origin in ({}, {"Origin": f"http://{host}"}):
        answer = stack.mlflow(
            "POST", "experiments/search", json={"max_results": 1}, headers={"Host": host, **origin}
        )
        assert answer.status_code == 200, answer.text


@pytest.mark.parametrize("host", ["evil.example:5000", "localhost.evil.example"])
def test_foreign_name_is_refused(stack, people, host):
    answer = stack.mlflow("GET", "users/current", headers={"Host": host})
    assert answer.status_code == 403


def test_large_bodies_without_an_account_do_not_use_memory(stack, people):
    started = time.monotonic()
    for _ in range(3):
        body = (b"x" * MIB for _ in range(512))
        url = f"{stack.url('MLFLOW_PORT')}{API}/runs/log-batch"
        try:
            assert requests.post(url, data=body, timeout=120).status_code == 401
        except requests.ConnectionError:
            # The server closed the connection before the client had sent everything.
            assert time.monotonic() - started < 120
    service = next(row for row in stack.health()["services"] if row["name"] == "mlflow")
    assert service["healthy"]
    assert service["restarts"] == 0
    assert service["memory_bytes"] < 700 * MIB
