"""What the watchdog ends, and what it leaves alone."""

import urllib.request

import pytest


@pytest.fixture
def watchdog(script):
    """The event listener, without a supervisord."""
    return script("healthchecks.watchdog", supervisor={"childutils": None})


def ended(watch, moments, useless=("redis",), since=0.0):
    """What is ended at each of these moments."""
    return [list(watch.judge(set(useless), {"redis": since, "mlflow": since}, m)) for m in moments]


def test_a_service_is_ended_after_misses_in_a_row(watchdog):
    watch = watchdog.Watch()
    assert ended(watch, [100, 120]) == [[], []]
    assert ended(watch, [140], useless=()) == [[]]
    assert ended(watch, [160, 180, 200]) == [[], [], ["redis"]]


def test_a_service_that_has_just_started_is_left_alone(watchdog):
    watch = watchdog.Watch()
    assert ended(watch, [100, 120, 140, 160], since=100) == [[], [], [], []]
    assert ended(watch, [161, 181, 201], since=100) == [[], [], ["redis"]]


def test_a_service_that_does_not_come_back_is_left_for_a_person(watchdog):
    watch = watchdog.Watch()
    within_the_hour = [name for names in ended(watch, range(100, 3000, 20)) for name in names]
    assert within_the_hour == ["redis"] * watchdog.ENDED_PER_HOUR
    assert ["redis"] in ended(watch, range(7000, 7200, 20))


@pytest.fixture
def useless(watchdog, web, monkeypatch):
    """What the watchdog finds useless, with or without an answer of PostgreSQL."""

    def useless(postgres=True, url=web.url):
        monkeypatch.setenv("STATUS_URL", url)
        monkeypatch.setattr(watchdog, "postgres_answers", lambda: postgres)
        return watchdog.useless_services()

    return useless


@pytest.mark.parametrize("code", [200, 503])
def test_what_the_page_calls_down_is_useless_but_not_what_it_does_not_know(useless, web, code):
    states = {"mlflow": "down", "redis": "unknown", "postgres": "down", "airflow-worker": "up"}
    services = [{"name": name, "state": state} for name, state in states.items()]
    web.answers["GET /status.json"] = (code, {"services": services})
    assert useless() == {"mlflow"}
    # What is down beside a database that is away may be down for want of it.
    assert useless(postgres=False) == {"postgres"}


@pytest.mark.parametrize("answer", [(200, b"<html>"), (500, b"Internal Server Error")])
def test_a_page_that_does_not_answer_or_without_json_is_useless_itself(
    useless, web, dead_port, answer
):
    assert useless(url=f"http://127.0.0.1:{dead_port}") == {"status"}
    web.answers["GET /status.json"] = answer
    assert useless() == {"status"}


def test_no_proxy_stands_between_the_watchdog_and_the_page(useless, web, monkeypatch, dead_port):
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{dead_port}")
    # urllib reads the environment once in a process; here it must read it anew.
    monkeypatch.setattr(urllib.request, "_opener", None)
    web.answers["GET /status.json"] = (200, {"services": []})
    assert useless() == set()
