"""The HTTP probes against well, ill, junk, silent and absent services."""

import asyncio
import time

import httpx
import pytest

from status import probes
from tests.status.stubs import HEALTH, SEARCH, VERSION, health

BEATING = ["airflow-scheduler", "airflow-dag-processor", "airflow-triggerer"]
JUNK = [b"<html>hello</html>", b"", b"\xff\xfe\x00", b"[1, 2]", b'"healthy"', b"null"]


def everything(web_url, redis_url=""):
    async def ask():
        async with httpx.AsyncClient(trust_env=False) as http:
            return await probes.everything(http, web_url, web_url, redis_url)

    return {verdict.name: verdict for verdict in asyncio.run(ask())}


def states(verdicts):
    return {name: verdict.state for name, verdict in verdicts.items()}


def test_all_is_up_when_all_is_well(web, broker):
    verdicts = everything(web.url, broker.url)
    assert list(verdicts) == probes.names(broker.url)
    assert set(states(verdicts).values()) == {"up"}
    assert verdicts["airflow-apiserver"].detail == "Airflow 3.0.1"
    assert verdicts["postgres"].latency_ms > 0
    assert verdicts["airflow-scheduler"].latency_ms is None


def test_without_redis_its_probes_do_not_exist(web):
    verdicts = everything(web.url)
    assert set(verdicts) == {"airflow-apiserver", *BEATING, "postgres", "mlflow"}
    assert set(states(verdicts).values()) == {"up"}


def test_one_get_tells_the_database_and_all_heartbeats(web):
    everything(web.url)
    assert sorted(path for _, path, _ in web.asked) == sorted([HEALTH, VERSION, SEARCH])


def test_mlflow_is_asked_for_something_that_touches_its_database(web):
    everything(web.url)
    [(method, body)] = [(method, body) for method, path, body in web.asked if path == SEARCH]
    assert (method, body) == ("POST", b'{"max_results":1}')


def test_200_with_an_unhealthy_database_is_down(web):
    silent = {"status": "unhealthy", "latest_scheduler_heartbeat": None}
    parts = {"metadatabase": {"status": "unhealthy"}, "scheduler": silent}
    web.answers[HEALTH] = (200, health(**parts))
    verdicts = everything(web.url)
    assert verdicts["postgres"].state == "down"
    assert verdicts["airflow-scheduler"].state == "unknown"
    assert "metadatabase is down" in verdicts["airflow-scheduler"].detail


@pytest.mark.parametrize("name", BEATING)
@pytest.mark.parametrize(
    ("age", "said", "state"),
    [
        (52, "unhealthy", "up"),
        (12, "unhealthy", "up"),
        (62, "healthy", "down"),
        (93, "unhealthy", "down"),
        (-3, "healthy", "up"),
        (-90, "healthy", "unknown"),
    ],
)
def test_heartbeats_are_judged_by_their_age(web, name, age, said, state):
    body = health(age=age)
    body[probes.HEARTBEATS[name]]["status"] = said
    web.answers[HEALTH] = (200, body)
    verdict = everything(web.url)[name]
    assert verdict.state == state
    # A machine at work takes its time between question and answer.
    assert any(str(told) in verdict.detail for told in near(abs(age))) or age == -3


def near(seconds):
    return range(max(seconds - 5, 1), seconds + 6)


@pytest.mark.parametrize("name", BEATING)
@pytest.mark.parametrize("part", [None, {}, {"status": None}, "healthy", {"status": "healthy"}])
def test_a_component_that_never_registered_is_unknown(web, name, part):
    web.answers[HEALTH] = (200, health(**{probes.HEARTBEATS[name]: part}))
    verdicts = everything(web.url)
    assert (verdicts[name].state, verdicts[name].detail) == ("unknown", "never registered")
    assert [n for n, s in states(verdicts).items() if s != "up"] == [name]


@pytest.mark.parametrize("beat", ["yesterday", 17, "", "2026-01-01T00:00:00", [1]])
def test_an_unreadable_heartbeat_is_unknown(web, beat):
    part = {"status": "healthy", "latest_scheduler_heartbeat": beat}
    web.answers[HEALTH] = (200, health(scheduler=part))
    assert everything(web.url)["airflow-scheduler"].state == "unknown"


@pytest.mark.parametrize("database", [None, {}, {"status": None}, {"status": 1}, [], "healthy"])
def test_a_database_airflow_says_nothing_of_is_unknown(web, database):
    web.answers[HEALTH] = (200, health(metadatabase=database))
    assert everything(web.url)["postgres"].state == "unknown"


@pytest.mark.parametrize("junk", JUNK)
def test_junk_is_never_up(web, junk):
    web.answers = dict.fromkeys(web.answers, (200, junk))
    assert states(everything(web.url)) == {
        "airflow-apiserver": "down",
        "mlflow": "down",
        **dict.fromkeys(["postgres", *BEATING], "unknown"),
    }


@pytest.mark.parametrize("code", [204, 302, 401, 404, 500, 503])
def test_other_codes_are_never_up_however_well_the_body_sounds(web, code):
    web.answers = {path: (code, body) for path, (_, body) in web.answers.items()}
    verdicts = everything(web.url)
    assert verdicts["airflow-apiserver"].detail == verdicts["mlflow"].detail == f"HTTP {code}"
    assert verdicts["postgres"].detail == f"Airflow cannot tell: HTTP {code}"
    assert set(states(verdicts).values()) == {"down", "unknown"}


def test_a_stranger_on_the_port_is_down(web):
    web.answers = dict.fromkeys(web.answers, (200, {"hello": "world"}))
    verdicts = states(everything(web.url))
    assert "up" not in verdicts.values()


def test_mlflow_without_experiments_is_up(web):
    web.answers[SEARCH] = (200, {})
    assert everything(web.url)["mlflow"].state == "up"


def test_services_that_hang_are_cut_off_together(web, broker):
    web.answers = dict.fromkeys(web.answers, (200, None))
    broker.hangs = True
    started = time.monotonic()
    verdicts = everything(web.url, broker.url)
    assert 1.9 < time.monotonic() - started < 2.5
    assert all("no answer within 2 s" in verdict.detail for verdict in verdicts.values())
    downs = {name for name, state in states(verdicts).items() if state == "down"}
    assert downs == {"airflow-apiserver", "mlflow", "redis"}
    assert set(states(verdicts).values()) == {"down", "unknown"}


def test_absent_services_are_down_and_what_they_would_tell_unknown(nobody):
    verdicts = everything(f"http://{nobody}", f"redis://:s3cret@{nobody}/0")
    downs = {name for name, state in states(verdicts).items() if state == "down"}
    assert downs == {"airflow-apiserver", "mlflow", "redis"}
    assert all(verdict.detail for verdict in verdicts.values())
    assert not any("s3cret" in verdict.detail for verdict in verdicts.values())


def test_an_address_that_is_none_is_a_verdict_too():
    verdicts = everything("not an address", "redis://:p/ss@host:x/0")
    assert "up" not in states(verdicts).values()
    assert verdicts["redis"].detail == "REDIS_URL is not a valid address"
