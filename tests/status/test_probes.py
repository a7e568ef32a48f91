"""A whole round of probes against healthy, failing, invalid, hanging and absent services."""

import asyncio
import time

import pytest

from status import probes
from status.metadata import JOBS, Database
from status.settings import Settings
from tests.status.databases import query_result
from tests.status.stubs import (
    API,
    ARTIFACTS,
    HEALTH,
    SEARCH,
    client,
    http_client,
    version_answers,
)

AIRFLOW_WORK = ["canary", "training", "monitoring", "dag-files"]
MLFLOW_WORK = ["champion", "challenger", "drift"]
JUNK = [b"<html>hello</html>", b"", b"\xff\xfe\x00", b"[1, 2]", b'"healthy"', b"null"]


def probe(web_url, database_url, redis_url="", rounds=1, prepare=lambda number: None):
    """Run some rounds at these addresses, each after a preparation, and return the last one."""
    urls = {"AIRFLOW_URL": web_url, "MLFLOW_URL": web_url, "REDIS_URL": redis_url}
    settings = Settings.load({**urls, "DATABASE_URL": database_url})
    database = Database(settings.database_url)

    async def run():
        async with http_client() as http:
            stack = probes.Probes(http, settings, database)
            for number in range(rounds):
                prepare(number)
                result = await stack.round()
        database.close()
        return result

    return asyncio.run(run())


def states(verdicts):
    return {verdict.name: verdict.state for verdict in verdicts}


def details(result):
    return {verdict.name: verdict.detail for verdict in [*result.services, *result.work]}


def test_round_of_a_healthy_stack_is_up(web, broker, database):
    result = probe(web.url, database.url, broker.url)
    assert [verdict.name for verdict in result.services] == probes.service_names(broker.url)
    assert [verdict.name for verdict in result.work] == [
        *AIRFLOW_WORK,
        *MLFLOW_WORK,
        "backup",
        "disk",
    ]
    assert set(states(result.services).values()) == {"up"}
    assert states(result.work) | {"disk": "up"} == {
        **dict.fromkeys(["canary", "training", "dag-files", "champion", "drift", "disk"], "up"),
        **dict.fromkeys(["monitoring", "challenger"], "none"),
        "backup": "unknown",
    }
    latencies = {verdict.name: verdict.latency_ms for verdict in result.services}
    without_latency = [name for name, latency in latencies.items() if latency is None]
    assert without_latency == [*JOBS, "airflow-worker"]
    assert (result.metadata.dags, result.models["flight-delay"].drift) == (3, {"2013-06": 0.1})
    assert 0 < result.disk.free < result.disk.size


def test_round_without_redis_counts_the_queue_in_the_database(web, database):
    result = probe(web.url, database.url)
    assert set(states(result.services)) == {"airflow-apiserver", *JOBS, "postgres", "mlflow"}
    assert set(states(result.services).values()) == {"up"}
    assert result.queue == 2


def test_round_with_an_empty_queue_in_the_database(web, database):
    database.answer = query_result(tasks=None)
    assert probe(web.url, database.url).queue == 0


def test_round_with_redis_counts_its_queue(web, broker, database):
    broker.clients, broker.waiting = ["id=1 flags=N idle=1 cmd=brpop"], 5
    assert probe(web.url, database.url, broker.url).queue == 5


@pytest.mark.parametrize("redis", [True, False])
def test_round_shows_the_age_of_the_queue_at_the_service_that_runs_tasks(
    web, broker, database, redis
):
    database.answer = query_result(oldest_queued=190.5)
    texts = details(probe(web.url, database.url, broker.url if redis else ""))
    runner = "airflow-worker" if redis else "airflow-scheduler"
    assert [name for name, text in texts.items() if text.endswith("oldest waiting 3 min")] == [
        runner
    ]


def test_round_counts_messages_that_are_left(web, broker, database):
    broker.unacked, broker.old = 5, 3
    detail = details(probe(web.url, database.url, broker.url))["airflow-worker"]
    text = "0 waiting, 5 in progress, 2 of them without a running task; oldest waiting 3 s"
    assert detail == f"consuming; {text}"


@pytest.mark.parametrize(("flags", "shown"), [("N", False), ("b", True), ("bN", True)])
def test_rounds_remember_queues_that_no_worker_serves(web, broker, database, flags, shown):
    group = {"state": "queued", "queue": "gpu", "pool": "p", "number": 1, "seconds": 40}
    database.answer = query_result(groups=[group | {"dag_id": "d"}])

    def set_worker(number):
        broker.clients = [client("brpop", flags[number])]

    result = probe(web.url, database.url, broker.url, len(flags), set_worker)
    assert ("queues" in states(result.work)) == shown


def test_rounds_share_the_connection_and_the_result_of_the_artifact_store(web, database):
    probe(web.url, database.url, rounds=3)
    assert database.connections == 1
    assert [len(web.requests_for(path)) for path in (HEALTH, SEARCH, ARTIFACTS)] == [3, 4, 1]


def test_mlflow_probe_searches_experiments(web, database):
    probe(web.url, database.url)
    request = web.requests_for(SEARCH)[0]
    assert (request.method, request.body) == ("POST", {"max_results": 1})


@pytest.mark.parametrize(
    ("part", "state"),
    [
        ({"status": "unhealthy"}, "down"),
        *[(odd, "unknown") for odd in (None, {}, {"status": None}, {"status": 1}, [], "healthy")],
    ],
)
def test_apiserver_without_a_healthy_database_is_not_up(web, database, part, state):
    web.answers[HEALTH] = (200, {"metadatabase": part})
    services = states(probe(web.url, database.url).services)
    assert services["airflow-apiserver"] == state
    # The database has a probe of its own.
    assert services["postgres"] == services["airflow-scheduler"] == "up"


@pytest.mark.parametrize("junk", JUNK)
def test_round_with_junk_is_never_up(web, database, junk):
    web.answers = dict.fromkeys(web.answers, (200, junk))
    result = probe(web.url, database.url)
    services, work = states(result.services), states(result.work)
    assert services["airflow-apiserver"] == services["mlflow"] == "down"
    assert {work[name] for name in MLFLOW_WORK} == {"unknown"}
    assert services["postgres"] == work["canary"] == "up"


@pytest.mark.parametrize("code", [204, 302, 401, 404, 500, 503])
def test_round_with_other_http_codes_is_never_up(web, database, code):
    web.answers = {path: (code, body) for path, (_, body) in web.answers.items()}
    result = probe(web.url, database.url)
    texts = details(result)
    assert texts["airflow-apiserver"] == texts["mlflow"] == f"HTTP {code}"
    assert {texts[name] for name in MLFLOW_WORK} == {"no data from MLflow"}
    assert (
        states(result.services)["airflow-apiserver"] == states(result.services)["mlflow"] == "down"
    )


def test_round_with_another_program_on_the_port_is_not_up(web, database):
    web.answers = dict.fromkeys(web.answers, (200, {"hello": "world"}))
    services = states(probe(web.url, database.url).services)
    assert (services["airflow-apiserver"], services["mlflow"]) == ("unknown", "down")


def test_round_with_hanging_services_ends_after_the_time_limit(web, broker, database):
    web.answers = dict.fromkeys(web.answers, (200, None))
    broker.hangs = database.hangs = True
    started = time.monotonic()
    result = probe(web.url, database.url, broker.url)
    assert 1.9 < time.monotonic() - started < 2.8
    downs = {name for name, state in states(result.services).items() if state == "down"}
    assert downs == {"airflow-apiserver", "mlflow", "redis", "postgres"}
    assert set(states(result.services).values()) == {"down", "unknown"}
    assert all("no answer within 2 s" in verdict.detail for verdict in result.services)
    assert {states(result.work)[name] for name in ("canary", "dag-files")} == {"unknown"}
    assert (result.metadata, result.models, result.queue) == (None, None, None)


def test_round_with_absent_services_is_down_or_unknown(dead_address):
    url = f"postgresql://status:s3cret@{dead_address}/airflow"  # pragma: allowlist secret
    result = probe(f"http://{dead_address}", url, f"redis://:s3cret@{dead_address}/0")
    downs = {name for name, state in states(result.services).items() if state == "down"}
    assert downs == {"airflow-apiserver", "mlflow", "redis", "postgres"}
    assert set(states(result.services).values()) == {"down", "unknown"}
    assert details(result)["postgres"] == "refuses connections"
    assert details(result)["canary"] == "no data from PostgreSQL"
    assert all(details(result).values())
    assert "s3cret" not in str(result)


def test_round_with_invalid_addresses_does_not_raise():
    database_url = "postgresql://status:s3cret@host:x/airflow"  # pragma: allowlist secret
    result = probe("not an address", database_url, "redis://:p/ss@host:x/0")
    assert "up" not in states(result.services).values()
    assert details(result)["redis"] == "REDIS_URL is not a valid address"
    assert details(result)["postgres"] == "DATABASE_URL is not a valid address"
    assert "s3cret" not in str(result)


def test_postgres_that_refuses_the_account_is_unknown(web, database):
    database.refuses = True
    result = probe(web.url, database.url)
    assert states(result.services)["postgres"] == "unknown"
    reason = "access denied: password authentication failed"
    assert details(result)["postgres"] == reason
    assert details(result)["airflow-scheduler"] == f"no data from PostgreSQL: {reason}"


@pytest.mark.parametrize("metric", ["NaN", "Infinity", float("nan"), None, [1]])
def test_round_ignores_metrics_that_are_not_numbers(web, database, metric):
    _, web.answers[f"{API}/runs/get?run_id=run3"] = version_answers("3", metric)
    result = probe(web.url, database.url)
    assert details(result)["champion"] == "version 3, data to 2013-05, log loss 0.5000"
