"""The query of the metadata database, with stub connections that answer, fail or hang."""

import asyncio
import time

import asyncpg
import pytest

from status.metadata import CANARY, JOBS, QUERY, ROLES, Database, Group, Metadata, Run, parse
from status.verdict import UnexpectedAnswer
from tests.status.databases import Connection, query_result, run


class Opener:
    """Returns these connections in order; an error in their place is raised."""

    def __init__(self, *connections):
        self.connections, self.opened = list(connections), 0

    async def __call__(self, url):
        self.opened += 1
        connection = self.connections.pop(0)
        if isinstance(connection, Exception):
            raise connection
        return connection


def check_often(*connections, times=1):
    """Return the results, each as verdicts by name and metadata, and the opened connections."""
    opener = Opener(*connections)

    async def check_all():
        database = Database("postgresql://stub", opener)
        return [await database.check() for _ in range(times)]

    results = asyncio.run(check_all())
    by_name = [({one.name: one for one in verdicts}, metadata) for verdicts, metadata in results]
    return by_name, opener.opened


def check(answer):
    """Return the verdicts by name and the metadata for one answer of the database."""
    [result], _ = check_often(Connection(answer))
    return result


def test_check_of_a_healthy_stack_needs_one_query():
    connection = Connection(query_result())
    [(verdicts, metadata)], _ = check_often(connection)
    assert list(verdicts) == ["postgres", *JOBS]
    assert {one.state for one in verdicts.values()} == {"up"}
    detail = "14 of 100 connections; airflow 11 MiB, mlflow 10 MiB"
    assert (verdicts["postgres"].detail, verdicts["postgres"].latency_ms >= 0) == (detail, True)
    assert verdicts["airflow-scheduler"].latency_ms is None
    assert metadata.runs["canary"] == Run("manual__1", "success", 9.0, 5.0)
    assert metadata.problems == {
        "flight-delay": {"training": "training_pipeline", "monitoring": "monitoring_pipeline"}
    }
    [(query, states, roles)] = connection.queries
    assert (query, roles) == (QUERY, list(ROLES))
    assert f"dag_id = '{CANARY}'" in query
    assert {"queued", "running"} < set(states)


def test_check_of_an_empty_database_finds_nothing():
    names = ["heartbeats", "tasks", "oldest_queued", "runs", "hops", "broken", "bytes"]
    verdicts, metadata = check(query_result(**dict.fromkeys(names)))
    assert (metadata.runs, metadata.tasks, metadata.broken) == ({}, {}, ())
    assert verdicts["postgres"].state == "up"
    assert {verdicts[name].detail for name in JOBS} == {"no running process has a heartbeat"}


@pytest.mark.parametrize("name", JOBS)
@pytest.mark.parametrize(
    ("age", "state", "detail"),
    [
        (52, "up", "last heartbeat 52 s ago"),
        (60, "up", "last heartbeat 60 s ago"),
        (62, "down", "last heartbeat 62 s ago"),
        (-3, "up", "last heartbeat 0 s ago"),
        (-90, "unknown", "heartbeat 90 s in the future; the clocks differ"),
        (None, "unknown", "no running process has a heartbeat"),
    ],
)
def test_heartbeat_state_depends_on_age(name, age, state, detail):
    beats = dict.fromkeys(JOBS.values(), 2.0) | {JOBS[name]: age}
    verdicts, _ = check(query_result(heartbeats=beats))
    assert (verdicts[name].state, verdicts[name].detail) == (state, detail)
    assert [n for n, one in verdicts.items() if one.state != "up"] == [name] * (state != "up")


def test_heartbeat_is_the_last_sign_of_life():
    verdicts, _ = check(query_result(heartbeats={"SchedulerJob": 40}))
    assert time.time() - verdicts["airflow-scheduler"].seen.timestamp() == pytest.approx(40, abs=5)


@pytest.mark.parametrize(("used", "state"), [(89, "up"), (90, "degraded"), (100, "degraded")])
def test_postgres_nearly_out_of_connections_is_degraded(used, state):
    verdicts, metadata = check(query_result(connections=used))
    assert verdicts["postgres"].state == state
    assert ("nearly out of connections" in verdicts["postgres"].detail) == (state == "degraded")
    assert metadata is not None


@pytest.mark.parametrize(
    ("error", "state", "detail"),
    [
        (asyncpg.UndefinedTableError("no job"), "unknown", "Airflow's tables do not exist yet"),
        (asyncpg.UndefinedFunctionError("-"), "unknown", "Airflow's tables do not exist yet"),
        (asyncpg.InsufficientPrivilegeError("no job for you"), "unknown", "no job for you"),
        (asyncpg.InvalidPasswordError("wrong"), "unknown", "access denied: wrong"),
        (asyncpg.InvalidCatalogNameError("no airflow"), "unknown", "no airflow"),
        (asyncpg.CannotConnectNowError("starting up"), "degraded", "starting up"),
        (asyncpg.InterfaceError("cannot use s3cret"), "down", "InterfaceError"),
        (ConnectionRefusedError(111, "at s3cret"), "down", "refuses connections"),
        (OSError("no route to s3cret"), "down", "OSError"),
    ],
)
@pytest.mark.parametrize("when", ["opening", "querying"])
def test_check_maps_errors_to_states(error, state, detail, when):
    [(verdicts, metadata)], _ = check_often(error if when == "opening" else Connection(error))
    postgres = verdicts.pop("postgres")
    assert postgres.state == state
    assert detail in postgres.detail
    assert {one.state for one in verdicts.values()} == {"unknown"}
    assert {one.detail for one in verdicts.values()} == {
        f"no data from PostgreSQL: {postgres.detail}"
    }
    assert metadata is None
    assert "s3cret" not in postgres.detail


def test_check_joins_error_and_hint_in_one_line():
    error = asyncpg.TooManyConnectionsError("too many clients")
    error.hint = "come\nback later"
    verdicts, _ = check(error)
    assert verdicts["postgres"].detail == "too many clients HINT: come back later"


@pytest.mark.parametrize(
    "junk",
    ["", "healthy", "[1]", "null", '"up"', '{"hello": "world"}', b"\xff", 7,
     '{"runs": [{"dag_id": "canary"}]}', '{"groups": [{}]}', '{"broken": [{}]}', '{"hops": "{"}'],
)  # fmt: skip
def test_check_of_junk_is_never_up(junk):
    verdicts, metadata = check(junk)
    assert verdicts["postgres"].state == "down"
    assert "unexpected answer" in verdicts["postgres"].detail
    assert {verdicts[name].state for name in JOBS} == {"unknown"}
    assert metadata is None


def test_check_of_an_empty_answer_is_not_up():
    verdicts, metadata = check("{}")
    assert "up" not in {one.state for one in verdicts.values()}
    assert metadata == Metadata()


def test_connection_is_reused():
    connection = Connection(query_result())
    results, opened = check_often(connection, times=3)
    assert [verdicts["postgres"].state for verdicts, _ in results] == ["up"] * 3
    assert (opened, len(connection.queries)) == (1, 3)


def test_connection_that_failed_is_replaced():
    first = Connection(query_result(), asyncpg.ConnectionDoesNotExistError("it was closed"))
    results, opened = check_often(first, Connection(query_result()), times=3)
    assert [verdicts["postgres"].state for verdicts, _ in results] == ["up", "down", "up"]
    assert (opened, first.closed) == (2, True)


def test_connection_closed_by_the_server_is_replaced():
    closed = Connection(query_result())
    closed.closed = True
    results, opened = check_often(closed, Connection(query_result()), times=2)
    assert [verdicts["postgres"].state for verdicts, _ in results] == ["up", "up"]
    assert (opened, len(closed.queries)) == (2, 1)


def test_connection_that_hangs_is_closed_after_the_time_limit():
    hung, started = Connection(None), time.monotonic()
    results, opened = check_often(hung, Connection(query_result()), times=2)
    assert 1.9 < time.monotonic() - started < 2.5
    assert [verdicts["postgres"].state for verdicts, _ in results] == ["down", "up"]
    assert results[0][0]["postgres"].detail == "no answer within 2 s"
    assert (opened, hung.closed) == (2, True)


@pytest.mark.parametrize("hops", [{"run": 0.1, "odd": "x"}, '{"run": 0.1, "odd": null}'])
def test_parse_reads_hops_from_json_or_a_json_string(hops):
    assert parse(query_result(hops=hops)).hops == {"run": 0.1}


@pytest.mark.parametrize("hops", [[1], "[1]", '"text"', 3])
def test_parse_ignores_other_results_of_the_canary(hops):
    assert parse(query_result(hops=hops)).hops == {}


@pytest.mark.parametrize(
    ("trace", "reason"),
    [
        ("Traceback\n  File\nNameError: x\n\n", "NameError: x"),
        (None, "no reason given"),
        ("", "no reason given"),
        ("one", "one"),
    ],
)
def test_parse_keeps_the_last_line_of_an_import_error(trace, reason):
    answer = query_result(broken=[{"filename": "a.py", "reason": trace}], broken_files=1)
    assert parse(answer).broken == (("a.py", reason),)


@pytest.mark.parametrize(
    ("markers", "inactive"),
    [
        ([None, "initialised 0f3a", "[]", '{"digest": "0f3a"}'], {}),
        (
            [
                '{"digest": "1", "inactive_patches": {"a": "why"}}',
                '{"digest": "2", "inactive_patches": {"b": "as well"}}',
            ],
            {"a": "why", "b": "as well"},
        ),
    ],
)
def test_parse_reads_inactive_patches_from_both_markers(markers, inactive):
    assert parse(query_result(markers=markers)).inactive_patches == inactive


def test_parse_reads_groups_pools_and_stale_files():
    group = {"state": "queued", "queue": "gpu", "pool": "p", "number": 2, "seconds": 9.5}
    stale = [{"name": "a.py", "parsed": "2026-01-02T03:04:05.6+00:00"}]
    answer = query_result(groups=[group | {"dag_id": "d"}], full_pools=["p"], stale_files=stale)
    metadata = parse(answer)
    assert metadata.groups == (Group("queued", "gpu", "p", 2, 9.5, "d"),)
    assert (metadata.full_pools, metadata.stale_files) == (["p"], stale)


def test_parse_of_a_run_with_an_unknown_field_fails():
    with pytest.raises(UnexpectedAnswer):
        parse(query_result(runs=[run("canary") | {"conf": {}}]))
