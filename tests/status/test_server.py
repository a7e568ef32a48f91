"""The routes: codes, headers, documents, and what is kept for all viewers."""

import asyncio
import time

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from status.probes import Round, service_names, work_names
from status.server import (
    KEPT_PAGES,
    SECURITY_HEADERS,
    STARTING_SECONDS,
    Viewed,
    _pause,
    create_app,
    waiting,
)
from status.settings import Settings
from status.verdict import Verdict

SETTINGS = Settings.load(
    {"AIRFLOW_PORT": "18080", "MLFLOW_PORT": "15000", "REDIS_URL": "redis://x"}
)
ALL_UP = [Verdict(name, "up", "fine", 1.5) for name in service_names("redis://x")]
WORK = [Verdict(name, "none", "no run yet") for name in work_names()]
PATHS = ["/", "/status.json", "/metrics", "/healthz"]


def recorded(services=ALL_UP, work=WORK):
    rounds = waiting(SETTINGS)
    if services:
        rounds.record(Round(services, work))
    return rounds


def ask(path, services=ALL_UP, method="GET", host="localhost:8081", work=WORK):
    """Ask the application itself; its background rounds do not run here."""

    async def request():
        transport = httpx.ASGITransport(create_app(SETTINGS, recorded(services, work)))
        async with httpx.AsyncClient(transport=transport, base_url="http://x") as http:
            return await http.request(method, path, headers={"host": host})

    return asyncio.run(request())


def but(name, state):
    return [Verdict(v.name, state if v.name == name else v.state, v.detail) for v in ALL_UP]


@pytest.mark.parametrize("name", service_names("redis://x"))
@pytest.mark.parametrize("state", ["down", "unknown", "degraded"])
def test_503_when_an_essential_service_is_down_or_unknown(name, state):
    essential = name != "airflow-triggerer" and state != "degraded"
    answer = ask("/status.json", but(name, state))
    assert answer.status_code == (503 if essential else 200)
    assert answer.json()["status"] == ("down" if essential else "degraded")


def test_200_and_the_document_when_all_is_well():
    answer = ask("/status.json")
    document = answer.json()
    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/json")
    assert (document["version"], document["status"]) == (1, "healthy")
    assert document["checked_at"].endswith("+00:00")
    assert [service["name"] for service in document["services"]] == service_names("redis://x")
    assert [one["name"] for one in document["work"]] == work_names()


def test_work_that_failed_is_told_without_making_a_service_worse():
    failed = [Verdict(one.name, "down", "failed after 1 min") for one in WORK]
    assert ask("/status.json", work=failed).json()["status"] == "healthy"
    html = ask("/", work=failed).text
    assert "All services are up" in html
    assert "failed after 1 min" in html


def test_503_before_the_first_round():
    answer = ask("/status.json", services=None)
    assert answer.status_code == 503
    assert answer.json()["checked_at"] is None
    assert {one["state"] for one in answer.json()["work"]} == {"unknown"}


@pytest.mark.parametrize("path", ["/", "/metrics", "/healthz"])
def test_page_metrics_and_process_answer_200_however_bad_it_is(path):
    assert ask(path, services=None).status_code == 200


def test_metrics_are_told_as_prometheus_asks_for_them():
    answer = ask("/metrics")
    assert answer.headers["content-type"].startswith("text/plain; version=")
    assert "mlops_service_up" in {one.name for one in text_string_to_metric_families(answer.text)}


@pytest.mark.parametrize("path", [*PATHS, "/absent"])
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


def test_what_is_shown_is_made_once_a_second_for_all_and_anew_after_a_round():
    rounds = recorded()
    viewed = Viewed(SETTINGS, rounds)

    def seen():
        return [viewed.board(), viewed.html("a"), viewed.document(), viewed.metrics()]

    first = seen()
    rounds.record(Round(but("mlflow", "down"), WORK))
    assert all(now is before for now, before in zip(seen(), first, strict=True))
    viewed.forget()
    assert all(now != before for now, before in zip(seen(), first, strict=True))


def test_what_is_shown_is_not_kept_for_longer_than_a_second(monkeypatch):
    viewed = Viewed(SETTINGS, recorded())
    first = viewed.board()
    for passed, same in ((0.5, True), (1.5, False)):
        now = time.monotonic() + passed
        monkeypatch.setattr("status.server.time.monotonic", lambda now=now: now)
        assert (viewed.board() is first) == same


def test_made_up_host_names_fill_no_memory_and_get_pages_of_their_own():
    viewed = Viewed(SETTINGS, recorded())
    for number in range(3 * KEPT_PAGES):
        assert f'href="http://h{number}:18080/"' in viewed.html(f"h{number}")
        assert len(viewed._made) <= KEPT_PAGES


@pytest.mark.parametrize(
    ("services", "age", "interval", "pause"),
    [
        (ALL_UP, 0, "10", 10),
        (None, 0, "10", 0.3),
        (None, STARTING_SECONDS - 1, "10", 0.3),
        (None, STARTING_SECONDS, "10", 10),
        (None, 0, "0.2", 0.2),
        (but("airflow-triggerer", "down"), 0, "10", 0.3),
    ],
)
def test_only_while_the_stack_comes_up_rounds_follow_each_other(services, age, interval, pause):
    settings = Settings.load({"STATUS_INTERVAL_SECONDS": interval})
    assert _pause(settings, recorded(services), age) == pause


def test_blank_settings_mean_defaults():
    assert Settings.load({"LINK_SCHEME": "https"}).scheme == "https"
    settings = Settings.load({"STATUS_PORT": " ", "REDIS_URL": "", "AIRFLOW_URL": "http://a:1/"})
    assert (settings.port, settings.redis_url, settings.airflow_url) == (8081, "", "http://a:1")
    assert (settings.interval, settings.disk, settings.backup_report) == (10, "/", "")


@pytest.mark.parametrize("bad", ["0", "-1", "nan", "soon"])
def test_an_interval_that_is_none_is_refused(bad):
    with pytest.raises(ValueError, match=r"above zero|could not convert"):
        Settings.load({"STATUS_INTERVAL_SECONDS": bad})
