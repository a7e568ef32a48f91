"""What tasks share, in the real supervisor and runner."""

import time

import httpx
import pytest

from tests.runtime.airflow.supervised import asked_while, patched_supervisor


@pytest.fixture(scope="module")
def supervisor():
    return patched_supervisor()


def test_clients_share_what_their_certificates_were_read_into(supervisor):
    made = [supervisor.Client(base_url="http://x", token="") for _ in range(2)]
    contexts = {id(one._transport._pool._ssl_context) for one in made}
    assert len(contexts) == 1


def test_a_client_may_have_another_transport(supervisor):
    transport = httpx.MockTransport(lambda request: httpx.Response(200, json={}))
    client = supervisor.Client(base_url="http://x", token="", transport=transport)
    assert client.get("/").status_code == 200


def ends_of(supervisor, seconds):
    return [end for end, _ in asked_while(supervisor, lambda: time.sleep(seconds))]


def test_a_short_task_sends_no_heartbeat(supervisor):
    assert ends_of(supervisor, 0.2) == ["run"]


def test_a_longer_one_does(supervisor, monkeypatch):
    monkeypatch.setattr(supervisor, "MIN_HEARTBEAT_INTERVAL", 0.2)
    asked = ends_of(supervisor, 1.0)
    assert asked[0] == "run"
    assert set(asked[1:]) == {"heartbeat"}
