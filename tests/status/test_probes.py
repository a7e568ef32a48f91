"""A whole round against well, ill, junk, silent and absent services."""

import asyncio
import time

import pytest

from status import probes
from status.metadata import JOBS, Database
from status.settings import Settings
from tests.status.databases import said
from tests.status.stubs import API, ARTIFACTS, HEALTH, SEARCH, asking, trained

OF_AIRFLOW = ["canary", "training", "monitoring", "dag-files"]
OF_MLFLOW = ["champion", "challenger", "drift"]
JUNK = [b"<html>hello</html>", b"", b"\xff\xfe\x00", b"[1, 2]", b'"healthy"', b"null"]


def asked(web_url, database_url, redis_url="", rounds=1):
    """The last of some rounds at these addresses."""
    urls = {"AIRFLOW_URL": web_url, "MLFLOW_URL": web_url, "REDIS_URL": redis_url}
    settings = Settings.load({**urls, "DATABASE_URL": database_url})
    database = Database(settings.database_url)

    async def ask():
        async with asking() as http:
            everything = probes.Probes(http, settings, database)
            found = [await everything.round() for _ in range(rounds)]
        database.close()
        return found[-1]

    return asyncio.run(ask())


def states(verdicts):
    return {verdict.name: verdict.state for verdict in verdicts}


def details(found):
    return {verdict.name: verdict.detail for verdict in [*found.services, *found.work]}


def test_all_is_up_when_all_is_well(web, broker, database):
    found = asked(web.url, database.url, broker.url)
    assert [verdict.name for verdict in found.services] == probes.service_names(broker.url)
    assert [verdict.name for verdict in found.work] == probes.work_names()
    assert set(states(found.services).values()) == {"up"}
    assert states(found.work) | {"disk": "up"} == {
        **dict.fromkeys(["canary", "training", "dag-files", "champion", "drift", "disk"], "up"),
        **dict.fromkeys(["monitoring", "challenger"], "none"),
        "backup": "unknown",
    }
    latencies = {verdict.name: verdict.latency_ms for verdict in found.services}
    unasked = [name for name, latency in latencies.items() if latency is None]
    assert unasked == [*JOBS, "airflow-worker"]
    assert (found.metadata.dags, found.models.drift) == (3, {"2013-06": 0.1})
    assert 0 < found.disk.free < found.disk.size


def test_without_redis_its_probes_do_not_exist_and_the_queue_is_in_the_database(web, database):
    found = asked(web.url, database.url)
    assert set(states(found.services)) == {"airflow-apiserver", *JOBS, "postgres", "mlflow"}
    assert set(states(found.services).values()) == {"up"}
    assert found.queue == 2


def test_an_empty_queue_in_the_database_is_no_unknown_one(web, database):
    database.answer = said(tasks=None)
    assert asked(web.url, database.url).queue == 0


def test_with_redis_the_queue_is_what_waits_there(web, broker, database):
    broker.clients, broker.waiting = ["id=1 flags=N idle=1 cmd=brpop"], 5
    assert asked(web.url, database.url, broker.url).queue == 5


@pytest.mark.parametrize("redis", [True, False])
def test_what_runs_the_tasks_tells_how_long_the_first_has_waited(web, broker, database, redis):
    database.answer = said(oldest_queued=190.5)
    told = details(asked(web.url, database.url, broker.url if redis else ""))
    runner = "airflow-worker" if redis else "airflow-scheduler"
    waits = [name for name, detail in told.items() if detail.endswith("the oldest waits for 3 min")]
    assert waits == [runner]


def test_rounds_share_one_connection_and_ask_mlflow_for_its_models_once(web, database):
    asked(web.url, database.url, rounds=3)
    assert database.opened == 1
    assert [len(web.of(path)) for path in (HEALTH, SEARCH, ARTIFACTS)] == [3, 3, 1]


def test_mlflow_is_asked_for_something_that_touches_its_database(web, database):
    asked(web.url, database.url)
    [request] = web.of(SEARCH)
    assert (request.method, request.body) == ("POST", {"max_results": 1})


@pytest.mark.parametrize(
    ("part", "state"),
    [
        ({"status": "unhealthy"}, "down"),
        *[(odd, "unknown") for odd in (None, {}, {"status": None}, {"status": 1}, [], "healthy")],
    ],
)
def test_an_api_server_that_does_not_say_it_reads_its_database_is_not_up(
    web, database, part, state
):
    web.answers[HEALTH] = (200, {"metadatabase": part})
    found = states(asked(web.url, database.url).services)
    assert found["airflow-apiserver"] == state
    # The database is asked itself.
    assert found["postgres"] == found["airflow-scheduler"] == "up"


@pytest.mark.parametrize("junk", JUNK)
def test_junk_is_never_up(web, database, junk):
    web.answers = dict.fromkeys(web.answers, (200, junk))
    found = asked(web.url, database.url)
    of_services, of_work = states(found.services), states(found.work)
    assert of_services["airflow-apiserver"] == of_services["mlflow"] == "down"
    assert {of_work[name] for name in OF_MLFLOW} == {"unknown"}
    assert of_services["postgres"] == of_work["canary"] == "up"


@pytest.mark.parametrize("code", [204, 302, 401, 404, 500, 503])
def test_other_codes_are_never_up_however_well_the_body_sounds(web, database, code):
    web.answers = {path: (code, body) for path, (_, body) in web.answers.items()}
    found = asked(web.url, database.url)
    told = details(found)
    assert told["airflow-apiserver"] == told["mlflow"] == f"HTTP {code}"
    assert {told[name] for name in OF_MLFLOW} == {"MLflow cannot tell"}
    assert states(found.services)["airflow-apiserver"] == states(found.services)["mlflow"] == "down"


def test_a_stranger_on_the_port_is_not_up(web, database):
    web.answers = dict.fromkeys(web.answers, (200, {"hello": "world"}))
    found = states(asked(web.url, database.url).services)
    assert (found["airflow-apiserver"], found["mlflow"]) == ("unknown", "down")


def test_services_that_hang_are_cut_off_together(web, broker, database):
    web.answers = dict.fromkeys(web.answers, (200, None))
    broker.hangs = database.hangs = True
    started = time.monotonic()
    found = asked(web.url, database.url, broker.url)
    assert 1.9 < time.monotonic() - started < 2.8
    downs = {name for name, state in states(found.services).items() if state == "down"}
    assert downs == {"airflow-apiserver", "mlflow", "redis", "postgres"}
    assert set(states(found.services).values()) == {"down", "unknown"}
    assert all("no answer within 2 s" in verdict.detail for verdict in found.services)
    assert {states(found.work)[name] for name in [*OF_AIRFLOW, *OF_MLFLOW]} == {"unknown"}
    assert (found.metadata, found.models, found.queue) == (None, None, None)


def test_absent_services_are_down_and_what_they_would_tell_unknown(nobody):
    url = f"postgresql://status:s3cret@{nobody}/airflow"  # pragma: allowlist secret
    found = asked(f"http://{nobody}", url, f"redis://:s3cret@{nobody}/0")
    downs = {name for name, state in states(found.services).items() if state == "down"}
    assert downs == {"airflow-apiserver", "mlflow", "redis", "postgres"}
    assert set(states(found.services).values()) == {"down", "unknown"}
    assert details(found)["postgres"] == "refuses connections"
    assert details(found)["canary"] == "PostgreSQL cannot tell"
    assert all(details(found).values())
    assert "s3cret" not in str(found)


def test_an_address_that_is_none_is_a_verdict_too():
    database_url = "postgresql://status:s3cret@host:x/airflow"  # pragma: allowlist secret
    found = asked("not an address", database_url, "redis://:p/ss@host:x/0")
    assert "up" not in states(found.services).values()
    assert details(found)["redis"] == "REDIS_URL is not a valid address"
    assert details(found)["postgres"] == "DATABASE_URL is not a valid address"
    assert "s3cret" not in str(found)


def test_a_refused_account_is_unknown_with_what_postgresql_says(web, database):
    database.refuses = True
    found = asked(web.url, database.url)
    assert states(found.services)["postgres"] == "unknown"
    why = "it refuses this page's account: password authentication failed"
    assert details(found)["postgres"] == why
    assert details(found)["airflow-scheduler"] == f"PostgreSQL cannot tell: {why}"


@pytest.mark.parametrize("figure", ["NaN", "Infinity", float("nan"), None, [1]])
def test_figures_that_are_none_do_not_stop_the_round(web, database, figure):
    _, web.answers[f"{API}/runs/get?run_id=run3"] = trained("3", figure)
    found = asked(web.url, database.url)
    assert details(found)["champion"] == "version 3, data to 2013-05, log loss 0.5000"
