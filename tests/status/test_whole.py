"""The whole server on a free port, against stubs: it watches on its own, viewers only look."""

import time

import httpx

from status.server import Settings
from tests.page.served import Served


def stack(web, broker, database, **more):
    """Settings of a stack of these stubs."""
    urls = {"AIRFLOW_URL": web.url, "MLFLOW_URL": web.url, "REDIS_URL": broker.url}
    return Settings.load({**urls, "DATABASE_URL": database.url, **more})


def wait_for(served, code):
    """The document of /status.json once it has this code."""
    deadline = time.monotonic() + 20
    while (answer := httpx.get(f"{served.url}/status.json")).status_code != code:
        assert time.monotonic() < deadline, answer.text
        time.sleep(0.05)
    return answer.json()


def test_the_server_sees_a_service_fail_and_recover(web, broker, database, monkeypatch):
    # What was made is forgotten because of the new round, not because it grew old.
    monkeypatch.setattr("status.server.KEPT_SECONDS", 999)
    with Served(stack(web, broker, database, STATUS_INTERVAL_SECONDS="0.2")) as served:
        assert wait_for(served, 200)["status"] == "healthy"
        broker.clients = []
        document = wait_for(served, 503)
        assert [s["name"] for s in document["services"] if s["state"] != "up"] == ["airflow-worker"]
        broker.clients = ["id=1 flags=b idle=0 cmd=brpop"]
        assert wait_for(served, 200)["status"] == "healthy"
        assert database.opened == 1


def test_viewers_neither_wait_for_probes_nor_multiply_them(web, broker, database):
    web.answers = dict.fromkeys(web.answers, (200, None))
    whole = Served(stack(web, broker, database))
    with whole, httpx.Client(base_url=whole.url) as viewer:
        begun = time.monotonic()
        while len(web.requests) < 2 and time.monotonic() < begun + 10:
            time.sleep(0.02)
        started = time.monotonic()
        assert {viewer.get(path).status_code for path in ["/", "/metrics"] * 10} == {200}
        # The round still hangs for its 2 s: had one page waited for it, all would be later.
        assert time.monotonic() - started < 1.5
        assert len(web.requests) == 2


def test_a_round_that_hangs_three_intervals_makes_all_unknown(web, broker, database):
    with Served(stack(web, broker, database, STATUS_INTERVAL_SECONDS="0.2")) as served:
        wait_for(served, 200)
        web.answers = dict.fromkeys(web.answers, (200, None))
        document = wait_for(served, 503)
    told = [*document["services"], *document["work"]]
    assert {one["state"] for one in told} == {"unknown"}
    assert all("stale" in one["detail"] for one in told)
    assert document["models"] is None
