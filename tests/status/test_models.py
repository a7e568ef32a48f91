"""The probes of MLflow: models, months and artifact store, and how often they run."""

import asyncio

import httpx
import pytest

from status.metadata import Database
from status.models import MLflow, Models, Version
from status.probes import Probes
from status.settings import Settings
from tests.status.databases import Connection, query_result, run
from tests.status.stubs import (
    ABSENT,
    ALIAS,
    ARTIFACTS,
    EXPERIMENTS,
    HEALTH,
    MONTHS,
    REGISTERED,
    RUN,
    SEARCH,
    experiment,
    http_client,
    key_values,
    month_run,
    version_answers,
)
from tests.support.clock import FakeClock

PASSWORD = "s3cret-of-status"  # pragma: allowlist secret


def run_rounds(web, *steps):
    """Run a round per step and return each with the requests for artifacts and months so far.

    A step is the seconds since the last one, PostgreSQL's answer, and functions to call before it.
    """
    urls = {"AIRFLOW_URL": web.url, "MLFLOW_URL": web.url}
    settings = Settings.load({**urls, "STATUS_PASSWORD": PASSWORD})
    connection, clock = Connection(None), FakeClock()

    async def connect(url):
        return connection

    def count(path):
        return len(web.requests_for(path))

    async def run_all():
        async with http_client() as http:
            probes, results = Probes(http, settings, Database("", connect), clock), []
            for seconds, answer, *changes in steps:
                clock.now += seconds
                connection.answers = [answer]
                for change in changes:
                    change()
                results.append((await probes.round(), *map(count, (ARTIFACTS, MONTHS))))
        return results

    return asyncio.run(run_all())


def query(web):
    async def query_models():
        async with http_client() as http:
            models = await MLflow(http, web.url).models()
            return models.get("flight-delay")

    return asyncio.run(query_models())


def mlflow(result):
    return next(verdict for verdict in result.services if verdict.name == "mlflow")


def test_models_include_the_training_run_of_each_version(web):
    web.answers[f"{ALIAS}challenger"], web.answers[f"{RUN}run4"] = version_answers(4, 0.6)
    assert query(web).versions == {
        "champion": Version("3", "run3", "2013-05", {"auc": 0.7, "log_loss": 0.5}),
        "challenger": Version("4", "run4", "2013-05", {"auc": 0.6, "log_loss": 0.5}),
    }


@pytest.mark.parametrize("code", [400, 404])
@pytest.mark.parametrize("error", ["RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"])
def test_models_without_versions_and_periods_are_empty(web, code, error):
    absent = (code, {"error_code": error, "message": "not found"})
    web.answers |= dict.fromkeys([f"{ALIAS}champion", f"{ALIAS}challenger"], absent)
    web.answers[SEARCH] = (200, {"experiments": EXPERIMENTS[:1]})
    assert query(web) == Models({}, {})


def test_experiments_without_a_problem_are_ignored(web):
    web.answers[SEARCH] = (200, {"experiments": [{"name": "x", "experiment_id": "1"}]})
    assert query(web) is None


@pytest.mark.parametrize(
    ("text", "limit"), [("0.4", 0.4), ("", 0.25), ("lots", 0.25), ("7", 0.25), ("nan", 0.25)]
)
def test_limit_and_metric_are_tags_of_the_experiment(web, text, limit):
    tags = {"stack.drift_limit": text, "stack.metric": "rmse"}
    web.answers[SEARCH] = (200, {"experiments": [experiment("flight-delay", "6", **tags)]})
    assert (query(web).limit, query(web).metric) == (limit, "rmse")


def test_models_of_a_missing_model_skip_its_aliases(web):
    web.answers[REGISTERED] = ABSENT
    # MLflow denies these requests to accounts without permission on the model.
    web.answers |= dict.fromkeys([f"{ALIAS}champion", f"{ALIAS}challenger"], (403, b"denied"))
    assert query(web).versions == {}
    assert web.requests_for(f"{ALIAS}champion") == []


def test_round_sends_the_read_only_account_to_mlflow_only(web):
    run_rounds(web, (0, query_result()))
    header = httpx.BasicAuth("status", PASSWORD)._auth_header
    logins = {request.target: request.headers.get("Authorization") for request in web.requests}
    with_login = {path for path, login in logins.items() if login == header}
    assert {SEARCH, ARTIFACTS, REGISTERED, f"{ALIAS}champion", f"{RUN}run3", MONTHS} <= with_login
    assert [path for path, login in logins.items() if login is None] == [HEALTH]


def test_mlflow_with_a_wrong_password_is_down(web):
    web.answers[SEARCH] = (401, b"You are not authenticated.")
    [(result, *_)] = run_rounds(web, (0, query_result()))
    assert (mlflow(result).state, mlflow(result).detail) == ("down", "HTTP 401")


def test_models_with_a_deleted_run_are_unknown(web):
    web.answers[f"{RUN}run3"] = ABSENT
    [(result, *_)] = run_rounds(web, (0, query_result()))
    assert result.models is None
    assert {v.name: v.state for v in result.work}["champion"] == "unknown"


def test_models_with_an_empty_run_are_read(web):
    web.answers[f"{RUN}run3"] = (200, {"run": {"data": {}}})
    assert query(web).versions["champion"] == Version("3", "run3", "", {})


def test_drift_is_the_last_run_of_each_of_the_last_24_months(web):
    names = [f"{year}-{number:02}" for year in (2012, 2013) for number in range(1, 13)]
    early = [month_run(name, 0.2) for name in names]
    later = [month_run("2014-01", 0.3), month_run("2014-01", 0.4)]
    odd = [
        {"data": {"tags": key_values(period="2014-02")}},
        {"data": {}},
        month_run("2014-03", "NaN"),
        month_run("z" * 50, 0.9),
    ]
    web.answers[MONTHS] = (200, {"runs": [*later, *early, *odd]})
    drift = query(web).drift
    assert (len(drift), next(iter(drift))) == (24, "2012-02")
    assert list(drift.items())[-1] == ("2014-01", 0.4)


def test_drift_is_read_from_the_monitoring_experiment_oldest_first(web):
    query(web)
    [request] = web.requests_for(MONTHS)
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
        (MONTHS, (200, {"runs": 5})),
        (MONTHS, (200, {"runs": [{"info": {}}]})),
        (MONTHS, (200, b"<html>")),
    ],
)
def test_models_from_junk_are_unknown_and_do_not_stop_the_round(web, path, answer):
    web.answers[path] = answer
    [(result, *_)] = run_rounds(web, (0, query_result()))
    assert mlflow(result).state == "up"
    assert result.models is None


@pytest.mark.parametrize("body", [{}, {"experiments": []}, {"experiments": [{}]}])
def test_mlflow_without_experiments_is_up(web, body):
    web.answers[SEARCH] = (200, body)
    [(result, *_)] = run_rounds(web, (0, query_result()))
    assert mlflow(result).detail == "reads its database and its artifact store"
    assert mlflow(result).state == "up"


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ((500, {}), "HTTP 500"),
        (
            (424, {"message": "artifact store s3://b/p: its server does not answer; check that"}),
            "its server does not answer",
        ),
        ((200, b"<html>"), "the answer is not JSON"),
        ((200, {"files": None}), "the answer contains no list of files"),
        ((200, {"hello": "world"}), "the answer contains no list of files"),
    ],
)
def test_mlflow_without_artifact_store_is_degraded(web, answer, reason):
    web.answers[ARTIFACTS] = answer
    [(result, *_)] = run_rounds(web, (0, query_result()))
    verdict = mlflow(result)
    assert verdict.state == "degraded"
    assert verdict.detail == f"reads its database; artifact store: {reason}"
    assert result.models["flight-delay"].versions.keys() == {"champion"}


def test_models_are_queried_once_a_minute(web):
    steps = [(seconds, query_result()) for seconds in (0, 10, 49, 1, 59)]
    results = run_rounds(web, *steps)
    assert [counts for _, *counts in results] == [[1, 1], [1, 1], [1, 1], [2, 2], [2, 2]]
    assert {one.models["flight-delay"].versions["champion"].version for one, *_ in results} == {"3"}


def test_models_are_queried_again_after_each_run(web):
    training = run("training_pipeline", started=50.0)
    ended = run("training_pipeline", started=60.0, ended=1.0)
    again = run("training_pipeline", started=60.0, ended=1.0, run_id="manual__2")
    stages = [training, training, ended, ended, again]
    results = run_rounds(web, *[(10, query_result(runs=[stage])) for stage in stages])
    assert [count for _, count, _ in results] == [1, 1, 2, 2, 3]


def test_models_are_unknown_while_mlflow_is_down_and_queried_when_it_is_back(web):
    healthy = web.answers[SEARCH]

    def answer_with(answer):
        web.answers[SEARCH] = answer

    steps = [
        (0, query_result()),
        (1, query_result(), lambda: answer_with((503, {}))),
        (1, query_result(), lambda: answer_with(healthy)),
    ]
    results = run_rounds(web, *steps)
    assert [mlflow(one).state for one, *_ in results] == ["up", "down", "up"]
    assert [bool(one.models) for one, *_ in results] == [True, False, True]
    assert [count for _, count, _ in results] == [1, 1, 2]
