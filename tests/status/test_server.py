"""The routes: status codes, headers and documents; the cache for all viewers; the interval."""

import asyncio
import json
import time

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from status.probes import Round, service_names, work_names
from status.server import (
    CACHE_ENTRIES,
    SECURITY_HEADERS,
    STARTING_SECONDS,
    Views,
    _pause,
    create_app,
    initial_rounds,
)
from status.settings import Settings
from status.verdict import Verdict

SETTINGS = Settings.load(
    {"AIRFLOW_PORT": "18080", "MLFLOW_PORT": "15000", "REDIS_URL": "redis://x"}
)
ALL_UP = [Verdict(name, "up", "fine", 1.5) for name in service_names("redis://x")]
WORK = [Verdict(name, "none", "no run yet") for name in work_names()]
PATHS = ["/", "/status.json", "/metrics", "/healthz"]


def make_rounds(services=ALL_UP, work=WORK):
    rounds = initial_rounds(SETTINGS)
    if services:
        rounds.record(Round(services, work))
    return rounds


def request(path, services=ALL_UP, method="GET", host="localhost:8081", work=WORK):
    """Send a request to the application, without its background rounds."""

    async def send():
        transport = httpx.ASGITransport(create_app(SETTINGS, make_rounds(services, work)))
        async with httpx.AsyncClient(transport=transport, base_url="http://x") as http:
            return await http.request(method, path, headers={"host": host})

    return asyncio.run(send())


def all_up_except(name, state):
    return [Verdict(v.name, state if v.name == name else v.state, v.detail) for v in ALL_UP]


@pytest.mark.parametrize("name", service_names("redis://x"))
@pytest.mark.parametrize("state", ["down", "unknown", "degraded"])
def test_status_json_is_503_if_an_essential_service_is_down_or_unknown(name, state):
    essential = name != "airflow-triggerer" and state != "degraded"
    response = request("/status.json", all_up_except(name, state))
    assert response.status_code == (503 if essential else 200)
    assert response.json()["status"] == ("down" if essential else "degraded")


def test_status_json_of_a_healthy_stack_is_200():
    response = request("/status.json")
    document = response.json()
    assert (response.status_code, response.headers["content-type"]) == (200, "application/json")
    assert (document["version"], document["status"]) == (2, "healthy")
    assert document["checked_at"].endswith("+00:00")
    assert [service["name"] for service in document["services"]] == service_names("redis://x")
    assert [one["name"] for one in document["work"]] == work_names()


def test_failed_work_is_shown_without_changing_the_status():
    failed = [Verdict(one.name, "down", "failed after 1 min") for one in WORK]
    assert request("/status.json", work=failed).json()["status"] == "healthy"
    html = request("/", work=failed).text
    assert "All services are up" in html
    assert "failed after 1 min" in html


def test_status_json_before_the_first_round_is_503():
    response = request("/status.json", services=None)
    assert response.status_code == 503
    assert response.json()["checked_at"] is None
    assert {one["state"] for one in response.json()["work"]} == {"unknown"}


@pytest.mark.parametrize("path", ["/", "/metrics", "/healthz"])
def test_other_routes_are_200_before_the_first_round(path):
    assert request(path, services=None).status_code == 200


def test_metrics_are_in_prometheus_format():
    response = request("/metrics")
    assert response.headers["content-type"].startswith("text/plain; version=")
    assert "mlops_service_up" in {one.name for one in text_string_to_metric_families(response.text)}


@pytest.mark.parametrize("path", [*PATHS, "/absent"])
@pytest.mark.parametrize("method", ["GET", "HEAD", "POST"])
def test_every_response_has_the_security_headers(path, method):
    response = request(path, method=method)
    assert response.headers.items() >= {k.lower(): v for k, v in SECURITY_HEADERS.items()}.items()
    expected = 404 if path == "/absent" else 405 if method == "POST" else 200
    assert response.status_code == expected
    assert method != "HEAD" or not response.content


def test_page_links_use_the_host_name_of_the_request():
    html = request("/", host="stack.example:8081").text
    assert '<a href="http://stack.example:18080/">Airflow</a>' in html
    assert '<a href="http://stack.example:15000/">MLflow</a>' in html


@pytest.mark.parametrize("host", ['x"><script>alert(1)</script>', "user@evil", "a/b", ""])
def test_page_refuses_an_invalid_host_without_repeating_it(host):
    response = request("/", host=host)
    assert response.status_code == 400
    assert "alert" not in response.text


def test_views_are_cached_until_the_next_round():
    rounds = make_rounds()
    views = Views(SETTINGS, rounds)

    def render_all():
        return [views.board(), views.html("a"), views.document(), views.metrics()]

    first = render_all()
    rounds.record(Round(all_up_except("mlflow", "down"), WORK))
    assert all(now is before for now, before in zip(render_all(), first, strict=True))
    views.clear()
    assert all(now != before for now, before in zip(render_all(), first, strict=True))


def test_json_names_the_stack_of_the_page():
    settings = Settings.load({"STACK_PROJECT": "flights-a1", "STACK_ID": "0f9e"})
    document = json.loads(Views(settings, make_rounds()).document())
    assert (document["project"], document["stack"]) == ("flights-a1", "0f9e")


def test_views_are_cached_for_one_second(monkeypatch):
    views = Views(SETTINGS, make_rounds())
    first = views.board()
    for seconds, same in ((0.5, True), (1.5, False)):
        now = time.monotonic() + seconds
        monkeypatch.setattr("status.server.time.monotonic", lambda now=now: now)
        assert (views.board() is first) == same


def test_views_for_many_host_names_are_limited():
    views = Views(SETTINGS, make_rounds())
    for number in range(3 * CACHE_ENTRIES):
        assert f'href="http://h{number}:18080/"' in views.html(f"h{number}")
        assert len(views._cache) <= CACHE_ENTRIES


@pytest.mark.parametrize(
    ("services", "age", "interval", "pause"),
    [
        (ALL_UP, 0, "10", 10),
        (None, 0, "10", 0.3),
        (None, STARTING_SECONDS - 1, "10", 0.3),
        (None, STARTING_SECONDS, "10", 10),
        (None, 0, "0.2", 0.2),
        (all_up_except("airflow-triggerer", "down"), 0, "10", 0.3),
    ],
)
def test_pause_is_short_only_while_the_stack_starts(services, age, interval, pause):
    settings = Settings.load({"STATUS_INTERVAL_SECONDS": interval})
    assert _pause(settings, make_rounds(services), age) == pause


def test_settings_blank_values_are_defaults():
    assert Settings.load({"LINK_SCHEME": "https"}).scheme == "https"
    settings = Settings.load({"STATUS_PORT": " ", "REDIS_URL": "", "AIRFLOW_URL": "http://a:1/"})
    assert (settings.port, settings.redis_url, settings.airflow_url) == (8081, "", "http://a:1")
    assert (settings.interval, settings.disk, settings.backup_report) == (10, "/", "")


@pytest.mark.parametrize("bad", ["0", "-1", "nan", "soon"])
def test_settings_invalid_interval_is_refused(bad):
    with pytest.raises(ValueError, match=r"above zero|could not convert"):
        Settings.load({"STATUS_INTERVAL_SECONDS": bad})
