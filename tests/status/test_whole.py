"""The whole server on a free port with stub services, including its background rounds."""

import time

import httpx

from status.server import Settings
from tests.page.served import Served


def stub_settings(web, broker, database, **more):
    """Return settings with the addresses of these stubs."""
    urls = {"AIRFLOW_URL": web.url, "MLFLOW_URL": web.url, "REDIS_URL": broker.url}
    return Settings.load({**urls, "DATABASE_URL": database.url, **more})


def wait_for(served, code):
    """Wait until /status.json has this status code, and return its document."""
    deadline = time.monotonic() + 20
    while (response := httpx.get(f"{served.url}/status.json")).status_code != code:
        assert time.monotonic() < deadline, response.text
        time.sleep(0.05)
    return response.json()


def test_server_notices_a_service_that_fails_and_recovers(web, broker, database, monkeypatch):
    # A new round must clear the cache, so it must not expire by itself.
    monkeypatch.setattr("status.server.CACHE_SECONDS", 999)
    with Served(stub_settings(web, broker, database, STATUS_INTERVAL_SECONDS="0.2")) as served:
        assert wait_for(served, 200)["status"] == "healthy"
        broker.clients = []
        document = wait_for(served, 503)
        assert [s["name"] for s in document["services"] if s["state"] != "up"] == ["airflow-worker"]
        broker.clients = ["id=1 flags=b idle=0 cmd=brpop"]
        assert wait_for(served, 200)["status"] == "healthy"
        assert database.connections == 1


def test_viewers_do_not_wait_for_probes_or_cause_more(web, broker, database):
    web.answers = dict.fromkeys(web.answers, (200, None))
    served = Served(stub_settings(web, broker, database))
    with served, httpx.Client(base_url=served.url) as viewer:
        deadline = time.monotonic() + 10
        while len(web.requests) < 2 and time.monotonic() < deadline:
            time.sleep(0.02)
        started = time.monotonic()
        assert {viewer.get(path).status_code for path in ["/", "/metrics"] * 10} == {200}
        # The round hangs for 2 s, so no page has waited for it.
        assert time.monotonic() - started < 1.5
        assert len(web.requests) == 2


def test_round_that_hangs_for_three_intervals_makes_all_unknown(web, broker, database):
    with Served(stub_settings(web, broker, database, STATUS_INTERVAL_SECONDS="0.2")) as served:
        wait_for(served, 200)
        web.answers = dict.fromkeys(web.answers, (200, None))
        document = wait_for(served, 503)
    entries = [*document["services"], *document["work"]]
    assert {one["state"] for one in entries} == {"unknown"}
    assert all("stale" in one["detail"] for one in entries)
    assert document["problems"] is None
