"""Test that logs of running tasks are fetched without a proxy."""

import importlib

import pytest

from tests.runtime.airflow.supervised import patched_supervisor
from tests.support.http_stub import HttpStub, unused_port


@pytest.mark.parametrize("hosts", ["mlflow,tls,", "*", ""])
def test_log_is_fetched_from_its_host_without_proxy(monkeypatch, hosts):
    patched_supervisor()
    handler = importlib.import_module("airflow.utils.log.file_task_handler")
    for name in ("http_proxy", "HTTP_PROXY"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{unused_port()}")
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.setenv(name, hosts)
    with HttpStub() as server:
        server.answers["GET /log/a"] = (200, ["line"])
        for _ in range(2):
            response = handler._fetch_logs_from_service(f"{server.url}/log/a", "a")
            assert response.json() == ["line"]
