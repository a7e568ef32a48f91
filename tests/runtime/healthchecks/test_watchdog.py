"""Test which services the watchdog restarts."""

import urllib.request

import pytest


@pytest.fixture
def watchdog(script):
    """The event listener without supervisord."""
    return script("healthchecks.watchdog", supervisor={"childutils": None})


def kills(watch, times, failed=("redis",), since=0.0):
    """Return the services that are killed at each of these times."""
    return [list(watch.judge(set(failed), {"redis": since, "mlflow": since}, t)) for t in times]


def test_watch_misses_in_a_row_kill_service(watchdog):
    watch = watchdog.Watch()
    assert kills(watch, [100, 120]) == [[], []]
    assert kills(watch, [140], failed=()) == [[]]
    assert kills(watch, [160, 180, 200]) == [[], [], ["redis"]]


def test_watch_starting_service_is_not_killed(watchdog):
    watch = watchdog.Watch()
    assert kills(watch, [100, 120, 140, 160], since=100) == [[], [], [], []]
    assert kills(watch, [161, 181, 201], since=100) == [[], [], ["redis"]]


def test_watch_repeated_failures_stop_restarts(watchdog):
    watch = watchdog.Watch()
    within_the_hour = [name for names in kills(watch, range(100, 3000, 20)) for name in names]
    assert within_the_hour == ["redis"] * watchdog.KILLS_PER_HOUR
    assert ["redis"] in kills(watch, range(7000, 7200, 20))


@pytest.fixture
def failed_services(watchdog, web, monkeypatch):
    """Return the services that the watchdog finds failed, with or without PostgreSQL."""

    def find(postgres=True, url=web.url):
        monkeypatch.setenv("STATUS_URL", url)
        monkeypatch.setattr(watchdog, "postgres_answers", lambda: postgres)
        return watchdog.failed_services()

    return find


@pytest.mark.parametrize("code", [200, 503])
def test_service_reported_down_counts_as_failed(failed_services, web, code):
    states = {"mlflow": "down", "redis": "unknown", "postgres": "down", "airflow-worker": "up"}
    services = [{"name": name, "state": state} for name, state in states.items()]
    web.answers["GET /status.json"] = (code, {"services": services})
    assert failed_services() == {"mlflow"}
    # Without PostgreSQL, the others may be down because of that.
    assert failed_services(postgres=False) == {"postgres"}


@pytest.mark.parametrize("answer", [(200, b"<html>"), (500, b"Internal Server Error")])
def test_status_page_without_valid_answer_counts_as_failed(failed_services, web, dead_port, answer):
    assert failed_services(url=f"http://127.0.0.1:{dead_port}") == {"status"}
    web.answers["GET /status.json"] = answer
    assert failed_services() == {"status"}


def test_watchdog_uses_no_proxy(failed_services, web, monkeypatch, dead_port):
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{dead_port}")
    # urllib reads the environment once per process, so make it read it again.
    monkeypatch.setattr(urllib.request, "_opener", None)
    web.answers["GET /status.json"] = (200, {"services": []})
    assert failed_services() == set()
