"""The routes: codes, headers, documents, and the whole server against stub services."""

import asyncio
import contextlib
import threading
import time

import httpx
import pytest
import uvicorn

from status.board import Rounds
from status.probes import names
from status.server import SECURITY_HEADERS, Settings, create_app
from status.verdict import Verdict

SETTINGS = Settings.load({"AIRFLOW_PORT": "18080", "MLFLOW_PORT": "15000"})
ALL_UP = [Verdict(name, "up", "fine", 1.5) for name in names("redis://x")]


def ask(path, verdicts=ALL_UP, method="GET", host="localhost:8081"):
    """Ask the application itself; its background rounds do not run here."""
    rounds = Rounds(names("redis://x"), 10)
    if verdicts:
        rounds.record(verdicts)

    async def request():
        transport = httpx.ASGITransport(create_app(SETTINGS, rounds))
        async with httpx.AsyncClient(transport=transport, base_url="http://x") as http:
            return await http.request(method, path, headers={"host": host})

    return asyncio.run(request())


def but(name, state):
    return [Verdict(v.name, state if v.name == name else v.state, v.detail) for v in ALL_UP]


@contextlib.contextmanager
def running(settings):
    """The whole server on a free port; yields its address."""
    app = create_app(settings, Rounds(names(settings.redis_url), settings.interval))
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="warning"))
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        time.sleep(0.02)
    yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    server.should_exit = True
    thread.join(10)
    assert not thread.is_alive()


def stack(web, broker, **more):
    urls = {"AIRFLOW_URL": web.url, "MLFLOW_URL": web.url, "REDIS_URL": broker.url}
    return Settings.load(urls | more)


def wait_for(url, code):
    deadline = time.monotonic() + 20
    while (answer := httpx.get(f"{url}/status.json")).status_code != code:
        assert time.monotonic() < deadline, answer.text
        time.sleep(0.05)
    return answer.json()


@pytest.mark.parametrize("name", names("redis://x"))
@pytest.mark.parametrize("state", ["down", "unknown", "degraded"])
def test_503_when_an_essential_service_is_down_or_unknown(name, state):
    essential = name != "airflow-triggerer" and state != "degraded"
    answer = ask("/status.json", but(name, state))
    assert answer.status_code == (503 if essential else 200)
    assert answer.json()["status"] == ("down" if essential else "degraded")


def test_200_and_the_document_when_all_is_well():
    answer = ask("/status.json")
    document = answer.json()
    assert answer.status_code == 200
    assert (document["version"], document["status"]) == (1, "healthy")
    assert document["checked_at"].endswith("+00:00")
    assert [service["name"] for service in document["services"]] == names("redis://x")
    assert document["services"][0].items() >= {"state": "up", "latency_ms": 1.5}.items()
    fields = {"name", "state", "detail", "latency_ms", "since", "last_seen"}
    assert set(document["services"][0]) == fields


def test_503_before_the_first_round():
    answer = ask("/status.json", verdicts=None)
    assert answer.status_code == 503
    assert answer.json()["checked_at"] is None


@pytest.mark.parametrize("path", ["/", "/healthz"])
def test_page_and_process_answer_200_however_bad_it_is(path):
    assert ask(path, verdicts=None).status_code == 200


@pytest.mark.parametrize("path", ["/", "/status.json", "/healthz", "/absent"])
@pytest.mark.parametrize("method", ["GET", "HEAD", "POST"])
def test_every_answer_carries_the_security_headers(path, method):
    answer = ask(path, method=method)
    assert answer.headers.items() >= {k.lower(): v for k, v in SECURITY_HEADERS.items()}.items()
    expected = 404 if path == "/absent" else 405 if method == "POST" else 200
    assert answer.status_code == expected
    assert method != "HEAD" or not answer.content


def test_links_follow_the_name_the_browser_used():
    html = ask("/", host="stack.example:8081").text
    assert '<a href="http://stack.example:18080/">Airflow</a>' in html
    assert '<a href="http://stack.example:15000/">MLflow</a>' in html


@pytest.mark.parametrize("host", ['x"><script>alert(1)</script>', "user@evil", "a/b", ""])
def test_an_odd_host_is_refused_and_not_repeated(host):
    answer = ask("/", host=host)
    assert answer.status_code == 400
    assert "alert" not in answer.text


def test_the_server_sees_a_service_fail_and_recover(web, broker):
    with running(stack(web, broker, STATUS_INTERVAL_SECONDS="0.2")) as url:
        assert wait_for(url, 200)["status"] == "healthy"
        broker.clients = []
        document = wait_for(url, 503)
        assert [s["name"] for s in document["services"] if s["state"] != "up"] == ["airflow-worker"]
        broker.clients = ["id=1 flags=b idle=0 cmd=brpop"]
        assert wait_for(url, 200)["status"] == "healthy"


def test_viewers_neither_wait_for_probes_nor_multiply_them(web, broker):
    web.answers = dict.fromkeys(web.answers, (200, None))
    with running(stack(web, broker)) as url, httpx.Client(base_url=url) as viewer:
        while len(web.asked) < 3:
            time.sleep(0.02)
        started = time.monotonic()
        assert {viewer.get("/").status_code for _ in range(20)} == {200}
        # The round still hangs for its 2 s: had one page waited for it, all would be later.
        assert time.monotonic() - started < 1.5
        assert len(web.asked) == 3


def test_a_round_that_hangs_three_intervals_makes_all_unknown(web, broker):
    with running(stack(web, broker, STATUS_INTERVAL_SECONDS="0.2")) as url:
        wait_for(url, 200)
        web.answers = dict.fromkeys(web.answers, (200, None))
        services = wait_for(url, 503)["services"]
    assert {service["state"] for service in services} == {"unknown"}
    assert "stale" in services[0]["detail"]


def test_blank_settings_mean_defaults():
    settings = Settings.load({"STATUS_PORT": " ", "REDIS_URL": "", "AIRFLOW_URL": "http://a:1/"})
    assert (settings.port, settings.redis_url, settings.airflow_url) == (8081, "", "http://a:1")
    assert settings.interval == 10


@pytest.mark.parametrize("bad", ["0", "-1", "nan", "soon"])
def test_an_interval_that_is_none_is_refused(bad):
    with pytest.raises(ValueError, match=r"above zero|could not convert"):
        Settings.load({"STATUS_INTERVAL_SECONDS": bad})
