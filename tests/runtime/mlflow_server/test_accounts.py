"""Use the real MLflow server as the accounts of colleagues, with MLflow's own client.

Run by `nox -s tests_mlflow`, which names the interpreter of the server's packages.
"""

import os
import socket
from types import SimpleNamespace

import pytest
import requests

from orchestration.clients.mlflow_accounts import MlflowAccounts
from tests.support.mlflow_server import PASSWORDS, MlflowServer

API = "/api/2.0/mlflow"
MIB = 2**20
GIVEN = {"ada": "password of ada", "grace": "password of grace"}
# As `worker`, like the pipelines: a run, and a registered model with an alias.
PIPELINE = """
import mlflow
mlflow.set_experiment("pipeline")
class Twice(mlflow.pyfunc.PythonModel):
    def predict(self, context, model_input, params=None):
        return model_input * 2
with mlflow.start_run():
    mlflow.log_metric("m", 1)
    options = {"python_model": Twice(), "registered_model_name": "pipeline-model"}
    mlflow.pyfunc.log_model(name="model", **options)
mlflow.MlflowClient().set_registered_model_alias("pipeline-model", "champion", "1")
"""
READ = """
import mlflow, pandas
model = mlflow.pyfunc.load_model("models:/pipeline-model@champion")
print("predicts", int(model.predict(pandas.DataFrame({"x": [21]}))["x"][0]))
print("runs", len(mlflow.search_runs(experiment_names=["pipeline"])))
"""
RACE = """
import sys, mlflow
mlflow.set_experiment("race")
with mlflow.start_run() as run:
    mlflow.log_metric("m", 1)
print("experiment", mlflow.get_experiment(run.info.experiment_id).name)
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    python = os.environ.get("MLFLOW_PYTHON")
    assert python, "Run these tests with: nox -s tests_mlflow"
    with MlflowServer(tmp_path_factory.mktemp("mlflow"), python) as running:
        people = MlflowAccounts(SimpleNamespace(url=lambda name: running.url))
        people.session = requests.Session()
        people.session.auth = ("admin", PASSWORDS["admin"])
        for name, role in (("ada", "reader"), ("grace", "writer")):
            people.create(name, GIVEN[name])
            people.set_role(name, role)
        code, output = running.client("worker", PASSWORDS["worker"], PIPELINE)
        assert code == 0, output
        yield running


@pytest.mark.parametrize("name", ["ada", "grace"])
def test_colleague_loads_the_pipelines_model_and_sees_its_runs(server, name):
    code, output = server.client(name, GIVEN[name], READ)
    assert code == 0, output
    assert "predicts 42" in output
    assert "runs 1" in output


@pytest.mark.parametrize(
    "write",
    [
        'mlflow.set_experiment("of ada")',
        'mlflow.set_experiment("pipeline"); mlflow.start_run()',
        'mlflow.MlflowClient().create_registered_model("of ada")',
        'mlflow.MlflowClient().delete_registered_model("pipeline-model")',
        'mlflow.MlflowClient().delete_registered_model_alias("pipeline-model", "champion")',
        'run = mlflow.search_runs(experiment_names=["pipeline"]).run_id[0]; '
        'mlflow.MlflowClient().log_text(run, "x", "x.txt")',
    ],
)
def test_reader_changes_nothing(server, write):
    code, output = server.client("ada", GIVEN["ada"], f"import mlflow; {write}")
    assert code == 1
    assert "Permission denied" in output or "403" in output


def test_writer_logs_to_its_own_experiment_only(server):
    own = 'mlflow.set_experiment("of grace"); mlflow.start_run(); mlflow.log_text("x", "x.txt")'
    code, output = server.client("grace", GIVEN["grace"], f"import mlflow; {own}")
    assert code == 0, output
    other = 'mlflow.set_experiment("pipeline"); mlflow.start_run()'
    assert server.client("grace", GIVEN["grace"], f"import mlflow; {other}")[0] == 1


def test_run_without_an_experiment_says_what_to_do(server):
    code, output = server.client("grace", GIVEN["grace"], "import mlflow; mlflow.start_run()")
    assert code == 1
    assert 'Set an experiment first: mlflow.set_experiment("NAME")' in output


def test_experiment_with_its_own_location_says_what_to_do(server):
    create = 'mlflow.create_experiment("team-x", artifact_location="mlflow-artifacts:/team-x")'
    code, output = server.client("grace", GIVEN["grace"], f"import mlflow; {create}")
    assert code == 1
    assert "Leave out artifact_location" in output


def test_first_use_of_an_experiment_by_several_processes(server):
    account = ("grace", GIVEN["grace"])
    clients = [server.start_client(*account, RACE) for _ in range(6)]
    outputs = [client.communicate(timeout=150)[0] for client in clients]
    assert [client.returncode for client in clients] == [0] * 6, outputs
    assert all("experiment race" in output for output in outputs)


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("localhost:15000", 200),
        ("127.0.0.1:1", 200),
        ("[::1]:15000", 200),
        ("localhost", 200),
        ("evil.example:5000", 403),
        ("localhost.evil.example:5000", 403),
        ("127.0.0.1.evil.example", 403),
    ],
)
def test_host_header(server, host, status):
    for path in (f"{API}/users/current", "/api/2.0/mlflow-artifacts/artifacts/1/none"):
        answer = server.send("GET", path, "worker", headers={"Host": host})
        assert (answer.status_code == 403) == (status == 403), answer.text


def unread_bytes(server, path, method="POST", auth=""):
    """Announce 256 MiB, send 2 MiB and return the status that comes before the rest is sent."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=30) as connection:
        lines = [f"{method} {path} HTTP/1.1", "Host: localhost", f"Content-Length: {256 * MIB}"]
        lines += [f"Authorization: {auth}"] if auth else []
        connection.sendall("\r\n".join([*lines, "", ""]).encode() + b"x" * (2 * MIB))
        return int(connection.recv(100).split()[1])


@pytest.mark.parametrize("path", [f"{API}/runs/log-batch", "/health", "/v1/traces", "/graphql"])
@pytest.mark.parametrize("auth", ["", "Basic eDp5", "Bearer x"])
def test_body_is_refused_before_it_is_sent(server, path, auth):
    assert unread_bytes(server, path, auth=auth) == 401


def test_large_body_is_refused_and_not_kept_in_memory(server):
    before = server.memory()
    body = (b"x" * MIB for _ in range(150))
    url, auth = f"{server.url}{API}/runs/log-batch", ("grace", GIVEN["grace"])
    answer = requests.post(url, data=body, auth=auth, timeout=60)
    assert answer.status_code == 413
    assert server.memory() - before < 120 * MIB


def test_large_artifact_is_stored(server):
    experiment = server.send("POST", f"{API}/experiments/create", "worker", json={"name": "large"})
    path = f"/api/2.0/mlflow-artifacts/artifacts/{experiment.json()['experiment_id']}/large.bin"
    before = server.memory()
    chunks = (b"x" * MIB for _ in range(100))
    assert server.send("PUT", path, "worker", data=chunks).status_code == 200
    assert len(server.send("GET", path, "worker").content) == 100 * MIB
    assert server.memory() - before < 60 * MIB
