"""Test that MLflow's server runs in the process that was started."""

import os
import sys
from types import SimpleNamespace

import pytest

from tests.support.fake_module import fake_module

STORE = "postgresql+psycopg2://mlflow:s3cret@postgres/mlflow"  # pragma: allowlist secret


@pytest.fixture
def mlflow(script, monkeypatch):
    """Our server with a fake `mlflow server`, which starts uvicorn as the real command does."""
    world = SimpleNamespace(arguments=None, served=None, environment={})
    server = fake_module(monkeypatch, "mlflow.server", _exec_cmd=lambda command, extra_env: None)

    def cli(arguments, prog_name):
        world.arguments = arguments
        world.environment = dict(os.environ)
        command = [sys.executable, "-m", "uvicorn", "--host", "h", "mlflow.server:app"]
        server._exec_cmd(command, extra_env={"PREPARED": "yes"}, capture_output=False)

    fake_module(monkeypatch, "mlflow.cli", cli=cli)
    fake_module(monkeypatch, "uvicorn", main=lambda words, **_: setattr(world, "served", words))
    # Set by monkeypatch, so that changes by the script are undone too.
    for name in ("PREPARED", "AWS_ACCESS_KEY_ID", "AWS_DEFAULT_REGION", "MLFLOW_HOST"):
        monkeypatch.setenv(name, "")
    monkeypatch.delenv("MLFLOW_HOST")
    monkeypatch.setenv("MLFLOW_BACKEND_STORE_URI", STORE)
    serve = script("mlflow.serve")
    monkeypatch.setattr(serve, "point_at", lambda uri: setattr(world, "accounts_store", uri))
    monkeypatch.setattr(serve.patch_registry, "installed_version", lambda name: "3.17.2")
    monkeypatch.setattr(serve.patches, "ALWAYS", [serve.patches.ONE_PROCESS])
    world.main = serve.main
    return world


def test_serve_runs_uvicorn_in_process(mlflow):
    with pytest.raises(SystemExit) as error:
        mlflow.main()
    assert not error.value.code
    assert mlflow.served == ["--host", "h", "mlflow.server:app"]
    assert os.environ["PREPARED"] == "yes"
    line = " ".join(mlflow.arguments)
    assert line == "server --app-name basic-auth --host 0.0.0.0 --port 5000 --workers 1"
    assert mlflow.accounts_store == STORE


def test_serve_drops_blank_credentials(mlflow, monkeypatch):
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-central-1")
    with pytest.raises(SystemExit):
        mlflow.main()
    assert "AWS_ACCESS_KEY_ID" not in mlflow.environment
    assert mlflow.environment["AWS_DEFAULT_REGION"] == "eu-central-1"


def test_serve_in_process_passes_other_command_on(script):
    server = SimpleNamespace(_exec_cmd=lambda command, extra_env: (command, extra_env))
    script("mlflow.patches").serve_in_process(server)
    command = [sys.executable, "-m", "gunicorn", "x"]
    assert server._exec_cmd(command, extra_env={"A": "1"}) == (command, {"A": "1"})
