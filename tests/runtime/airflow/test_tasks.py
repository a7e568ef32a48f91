"""Test the patches of tasks in the real supervisor and runner."""

import time

import httpx
import pytest

from tests.runtime.airflow.supervised import patched_supervisor, requests_of


@pytest.fixture(scope="module")
def supervisor():
    return patched_supervisor()


def test_clients_share_tls_context(supervisor):
    clients = [supervisor.Client(base_url="http://x", token="") for _ in range(2)]
    contexts = {id(client._transport._pool._ssl_context) for client in clients}
    assert len(contexts) == 1


def test_client_with_own_transport_works(supervisor):
    transport = httpx.MockTransport(lambda request: httpx.Response(200, json={}))
    client = supervisor.Client(base_url="http://x", token="", transport=transport)
    assert client.get("/").status_code == 200


def request_names(supervisor, seconds):
    return [name for name, _ in requests_of(supervisor, lambda: time.sleep(seconds))]


def test_short_task_sends_no_heartbeat(supervisor):
    assert request_names(supervisor, 0.2) == ["run"]


def test_longer_task_sends_heartbeat(supervisor, monkeypatch):
    monkeypatch.setattr(supervisor, "MIN_HEARTBEAT_INTERVAL", 0.2)
    names = request_names(supervisor, 1.0)
    assert names[0] == "run"
    assert set(names[1:]) == {"heartbeat"}
