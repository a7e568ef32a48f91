"""What MLflow says of its models, months and artifact store, and how seldom it is asked."""

import asyncio

import httpx
import pytest

from status.metadata import Database
from status.models import MLflow, Models, Version
from status.probes import Probes
from status.settings import Settings
from tests.status.databases import Connection, run, said
from tests.status.stubs import (
    ABSENT,
    ALIAS,
    ARTIFACTS,
    HEALTH,
    MONITORED,
    MONTHS,
    REGISTERED,
    RUN,
    SEARCH,
    asking,
    month,
    pairs,
    trained,
)
from tests.support.clock import FakeClock

PASSWORD = "s3cret-of-status"  # pragma: allowlist secret


def rounds(web, *steps):
    """Rounds, each some seconds after the last, with PostgreSQL's answer and what happens before.

    Each round found, and how often artifact store and months had been asked for by then.
    """
    urls = {"AIRFLOW_URL": web.url, "MLFLOW_URL": web.url}
    settings = Settings.load({**urls, "STATUS_PASSWORD": PASSWORD})
    connection, clock = Connection(None), FakeClock()

    async def opened(url):
        return connection

    def asks(path):
        return len(web.of(path))

    async def ask():
        async with asking() as http:
            asked, found = Probes(http, settings, Database("", opened), clock), []
            for passed, answer, *happens in steps:
                clock.now += passed
                connection.answers = [answer]
                for change in happens:
                    change()
                found.append((await asked.round(), *map(asks, (ARTIFACTS, MONTHS))))
        return found

    return asyncio.run(ask())


def look(web):
    async def ask():
        async with asking() as http:
            return await MLflow(http, web.url).look()

    return asyncio.run(ask())


def mlflow(found):
    return next(verdict for verdict in found.services if verdict.name == "mlflow")


def test_versions_are_read_with_the_run_they_are_from(web):
    web.answers[f"{ALIAS}challenger"], web.answers[f"{RUN}run4"] = trained(4, 0.6)
    assert look(web).versions == {
        "champion": Version("3", "run3", "2013-05", {"auc": 0.7, "log_loss": 0.5}),
        "challenger": Version("4", "run4", "2013-05", {"auc": 0.6, "log_loss": 0.5}),
    }


@pytest.mark.parametrize("code", [400, 404])
@pytest.mark.parametrize("error", ["RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"])
def test_what_is_not_there_yet_is_empty(web, code, error):
    absent = (code, {"error_code": error, "message": "not found"})
    web.answers |= dict.fromkeys([f"{ALIAS}champion", f"{ALIAS}challenger", MONITORED], absent)
    assert look(web) == Models({}, {})


def test_of_a_model_that_is_not_there_no_alias_is_asked_for(web):
    web.answers[REGISTERED] = ABSENT
    # What MLflow says of each of them then, to whoever has no right on that one model.
    web.answers |= dict.fromkeys([f"{ALIAS}champion", f"{ALIAS}challenger"], (403, b"denied"))
    assert look(web).versions == {}
    assert web.of(f"{ALIAS}champion") == []


def test_mlflow_and_nobody_else_is_asked_with_the_account_that_only_reads(web):
    rounds(web, (0, said()))
    header = httpx.BasicAuth("status", PASSWORD)._auth_header
    logins = {request.target: request.headers.get("Authorization") for request in web.requests}
    asked = {path for path, login in logins.items() if login == header}
    assert {SEARCH, ARTIFACTS, REGISTERED, f"{ALIAS}champion", f"{RUN}run3", MONTHS} <= asked
    assert [path for path, login in logins.items() if login is None] == [HEALTH]


def test_a_refused_password_is_told_as_what_it_is(web):
    web.answers[SEARCH] = (401, b"You are not authenticated.")
    [(found, *_)] = rounds(web, (0, said()))
    assert (mlflow(found).state, mlflow(found).detail) == ("down", "HTTP 401")


def test_a_version_whose_run_was_deleted_makes_the_look_fail_and_the_models_unknown(web):
    web.answers[f"{RUN}run3"] = ABSENT
    [(found, *_)] = rounds(web, (0, said()))
    assert found.models is None
    assert {v.name: v.state for v in found.work}["champion"] == "unknown"


def test_a_run_without_parameters_or_metrics_is_read(web):
    web.answers[f"{RUN}run3"] = (200, {"run": {"data": {}}})
    assert look(web).versions["champion"] == Version("3", "run3", "", {})


def test_of_each_month_the_last_look_counts_and_of_all_the_last_24(web):
    early = [month(f"{year}-{number:02}", 0.2) for year in (2012, 2013) for number in range(1, 13)]
    later = [month("2014-01", 0.3), month("2014-01", 0.4)]
    odd = [
        {"data": {"tags": pairs(month="2014-02")}},
        {"data": {}},
        month("2014-03", "NaN"),
        month("zzz", 0.9),
    ]
    web.answers[MONTHS] = (200, {"runs": [*later, *early, *odd]})
    drift = look(web).drift
    assert (len(drift), next(iter(drift))) == (24, "2012-02")
    assert list(drift.items())[-1] == ("2014-01", 0.4)


def test_the_months_are_those_of_the_monitoring_experiment_oldest_first(web):
    look(web)
    [request] = web.of(MONTHS)
    assert request.body["experiment_ids"] == ["7"]
    assert request.body["order_by"] == ["start_time ASC"]


@pytest.mark.parametrize(
    ("path", "answer"),
    [
        (f"{ALIAS}champion", (500, {"error_code": "INTERNAL_ERROR"})),
        (f"{ALIAS}champion", (404, b"no such page")),
        (f"{ALIAS}champion", (200, {"model_version": {"version": "3"}})),
        (f"{ALIAS}champion", (200, {"model_version": "text"})),
        (f"{RUN}run3", (200, {"run": None})),
        (f"{RUN}run3", (200, {"run": {"data": []}})),
        (f"{RUN}run3", (200, {"run": {"data": {"metrics": [{"key": "auc"}]}}})),
        (MONITORED, (200, {"experiment": {}, "junk": 1})),
        (MONTHS, (200, {"runs": 5})),
        (MONTHS, (200, {"runs": [{"info": {}}]})),
        (MONTHS, (200, b"<html>")),
    ],
)
def test_junk_is_no_model_and_never_stops_the_round(web, path, answer):
    web.answers[path] = answer
    [(found, *_)] = rounds(web, (0, said()))
    assert mlflow(found).state == "up"
    empty = path == MONITORED
    assert found.models.drift == {} if empty else found.models is None


@pytest.mark.parametrize("body", [{}, {"experiments": []}, {"experiments": [{}]}])
def test_mlflow_with_and_without_experiments_is_up(web, body):
    web.answers[SEARCH] = (200, body)
    [(found, *_)] = rounds(web, (0, said()))
    assert mlflow(found).detail == "reads its database and its artifact store"
    assert mlflow(found).state == "up"


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        ((500, {}), "HTTP 500"),
        (
            (424, {"message": "artifact store s3://b/p: its server does not answer; look whether"}),
            "its server does not answer",
        ),
        ((200, b"<html>"), "the answer is not JSON"),
        ((200, {"files": None}), "the answer is no list of files"),
        ((200, {"hello": "world"}), "the answer is no list of files"),
    ],
)
def test_mlflow_without_its_artifact_store_is_degraded_with_the_reason(web, answer, told):
    web.answers[ARTIFACTS] = answer
    [(found, *_)] = rounds(web, (0, said()))
    verdict = mlflow(found)
    assert verdict.state == "degraded"
    assert verdict.detail == f"reads its database; artifact store: {told}"
    assert found.models.versions.keys() == {"champion"}


def test_the_models_are_asked_for_at_most_once_a_minute(web):
    steps = [(0, said()), (10, said()), (49, said()), (1, said()), (59, said())]
    found = rounds(web, *steps)
    assert [asked for _, *asked in found] == [[1, 1], [1, 1], [1, 1], [2, 2], [2, 2]]
    assert {one.models.versions["champion"].version for one, *_ in found} == {"3"}


def test_the_models_are_asked_for_at_once_after_a_run_has_ended(web):
    training = run("training_pipeline", begun=50.0)
    ended = run("training_pipeline", begun=60.0, ended=1.0)
    again = run("training_pipeline", begun=60.0, ended=1.0, run_id="manual__2")
    stages = [training, training, ended, ended, again]
    found = rounds(web, *[(10, said(runs=[stage])) for stage in stages])
    assert [asked for _, asked, _ in found] == [1, 1, 2, 2, 3]


def test_what_a_down_mlflow_said_is_forgotten_and_asked_for_as_soon_as_it_is_back(web):
    well = web.answers[SEARCH]

    def answers(answer):
        web.answers[SEARCH] = answer

    steps = [
        (0, said()),
        (1, said(), lambda: answers((503, {}))),
        (1, said(), lambda: answers(well)),
    ]
    found = rounds(web, *steps)
    assert [mlflow(one).state for one, *_ in found] == ["up", "down", "up"]
    assert [bool(one.models) for one, *_ in found] == [True, False, True]
    assert [asked for _, asked, _ in found] == [1, 1, 2]
