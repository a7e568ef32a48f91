"""What PostgreSQL says, given through stub connections: answers, refusals, silence."""

import asyncio
import time

import asyncpg
import pytest

from status.metadata import CANARY, JOBS, PIPELINES, QUESTION, Database, Metadata, Run, read
from status.verdict import UnexpectedAnswer
from tests.status.databases import Connection, run, said


class Opener:
    """Opens the given connections one after the other; an error instead of one is raised."""

    def __init__(self, *connections):
        self.left, self.opened = list(connections), 0

    async def __call__(self, url):
        self.opened += 1
        following = self.left.pop(0)
        if isinstance(following, Exception):
            raise following
        return following


def looks(*connections, times=1):
    """Look some times; each look's verdicts by name and figures, and how many were opened."""
    opener = Opener(*connections)

    async def look():
        database = Database("postgresql://stub", opener)
        return [await database.look() for _ in range(times)]

    found = asyncio.run(look())
    named = [({one.name: one for one in verdicts}, metadata) for verdicts, metadata in found]
    return named, opener.opened


def look(answer):
    """The one look at a connection that gives this answer."""
    [found], _ = looks(Connection(answer))
    return found


def test_one_question_tells_the_database_all_heartbeats_and_the_figures():
    connection = Connection(said())
    [(verdicts, metadata)], _ = looks(connection)
    assert list(verdicts) == ["postgres", *JOBS]
    assert {one.state for one in verdicts.values()} == {"up"}
    told = "14 of 100 connections; airflow 11 MiB, mlflow 10 MiB"
    assert (verdicts["postgres"].detail, verdicts["postgres"].latency_ms >= 0) == (told, True)
    assert verdicts["airflow-scheduler"].latency_ms is None
    assert metadata.runs["canary"] == Run("manual__1", "success", 9.0, 5.0)
    [(query, states, dags)] = connection.asked
    assert (query, set(dags)) == (QUESTION, {*PIPELINES.values(), CANARY})
    assert {"queued", "running"} < set(states)


def test_an_empty_database_is_read_as_nothing_yet():
    names = ["heartbeats", "tasks", "oldest_queued", "runs", "hops", "broken", "bytes"]
    verdicts, metadata = look(said(**dict.fromkeys(names)))
    assert (metadata.runs, metadata.tasks, metadata.broken) == ({}, {}, ())
    assert verdicts["postgres"].state == "up"
    assert {verdicts[name].detail for name in JOBS} == {"none is running"}


@pytest.mark.parametrize("name", JOBS)
@pytest.mark.parametrize(
    ("age", "state", "told"),
    [
        (52, "up", "last heartbeat 52 s ago"),
        (60, "up", "last heartbeat 60 s ago"),
        (62, "down", "last heartbeat 62 s ago"),
        (-3, "up", "last heartbeat 0 s ago"),
        (-90, "unknown", "heartbeat lies 90 s ahead: the clocks differ"),
        (None, "unknown", "none is running"),
    ],
)
def test_heartbeats_are_judged_by_their_age(name, age, state, told):
    beats = dict.fromkeys(JOBS.values(), 2.0) | {JOBS[name]: age}
    verdicts, _ = look(said(heartbeats=beats))
    assert (verdicts[name].state, verdicts[name].detail) == (state, told)
    assert [n for n, one in verdicts.items() if one.state != "up"] == [name] * (state != "up")


def test_a_heartbeat_is_seen_when_it_was():
    verdicts, _ = look(said(heartbeats={"SchedulerJob": 40}))
    assert time.time() - verdicts["airflow-scheduler"].seen.timestamp() == pytest.approx(40, abs=5)


@pytest.mark.parametrize(("used", "state"), [(89, "up"), (90, "degraded"), (100, "degraded")])
def test_a_database_nearly_out_of_connections_is_degraded(used, state):
    verdicts, metadata = look(said(connections=used))
    assert verdicts["postgres"].state == state
    assert ("nearly out of connections" in verdicts["postgres"].detail) == (state == "degraded")
    assert metadata is not None


@pytest.mark.parametrize(
    ("error", "state", "told"),
    [
        (asyncpg.UndefinedTableError("no job"), "unknown", "Airflow's schema is not there yet"),
        (asyncpg.UndefinedFunctionError("-"), "unknown", "Airflow's schema is not there yet"),
        (asyncpg.InsufficientPrivilegeError("no job for you"), "unknown", "no job for you"),
        (asyncpg.InvalidPasswordError("wrong"), "unknown", "refuses this page's account: wrong"),
        (asyncpg.InvalidCatalogNameError("no airflow"), "unknown", "no airflow"),
        (asyncpg.CannotConnectNowError("starting up"), "down", "starting up"),
        (asyncpg.InterfaceError("cannot use s3cret"), "down", "InterfaceError"),
        (ConnectionRefusedError(111, "at s3cret"), "down", "refuses connections"),
        (OSError("no route to s3cret"), "down", "OSError"),
    ],
)
@pytest.mark.parametrize("when", ["opening", "asking"])
def test_errors_are_judged_by_what_they_prove(error, state, told, when):
    [(verdicts, metadata)], _ = looks(error if when == "opening" else Connection(error))
    postgres = verdicts.pop("postgres")
    assert postgres.state == state
    assert told in postgres.detail
    assert {one.state for one in verdicts.values()} == {"unknown"}
    assert {one.detail for one in verdicts.values()} == {
        f"PostgreSQL cannot tell: {postgres.detail}"
    }
    assert metadata is None
    assert "s3cret" not in postgres.detail


def test_a_reason_is_one_line_whatever_postgresql_adds():
    error = asyncpg.TooManyConnectionsError("too many clients")
    error.hint = "come\nback later"
    verdicts, _ = look(error)
    assert verdicts["postgres"].detail == "too many clients HINT: come back later"


@pytest.mark.parametrize(
    "junk",
    ["", "healthy", "[1]", "null", '"up"', '{"hello": "world"}', b"\xff", 7,
     '{"runs": [{"dag_id": "canary"}]}', '{"broken": [{}]}', '{"hops": "{"}'],
)  # fmt: skip
def test_junk_is_never_up(junk):
    verdicts, metadata = look(junk)
    assert verdicts["postgres"].state == "down"
    assert "not that of Airflow's metadata database" in verdicts["postgres"].detail
    assert {verdicts[name].state for name in JOBS} == {"unknown"}
    assert metadata is None


def test_a_database_that_says_nothing_at_all_is_not_up():
    verdicts, metadata = look("{}")
    assert "up" not in {one.state for one in verdicts.values()}
    assert metadata == Metadata()


def test_the_connection_is_kept_over_rounds():
    connection = Connection(said())
    found, opened = looks(connection, times=3)
    assert [verdicts["postgres"].state for verdicts, _ in found] == ["up"] * 3
    assert (opened, len(connection.asked)) == (1, 3)


def test_a_connection_that_failed_is_closed_and_opened_anew():
    first = Connection(said(), asyncpg.ConnectionDoesNotExistError("it was closed"))
    found, opened = looks(first, Connection(said()), times=3)
    assert [verdicts["postgres"].state for verdicts, _ in found] == ["up", "down", "up"]
    assert (opened, first.closed) == (2, True)


def test_a_connection_that_postgresql_closed_is_not_asked():
    closed = Connection(said())
    closed.closed = True
    found, opened = looks(closed, Connection(said()), times=2)
    assert [verdicts["postgres"].state for verdicts, _ in found] == ["up", "up"]
    assert (opened, len(closed.asked)) == (2, 1)


def test_a_hung_database_is_cut_off_and_its_connection_given_up():
    hung, started = Connection(None), time.monotonic()
    found, opened = looks(hung, Connection(said()), times=2)
    assert 1.9 < time.monotonic() - started < 2.5
    assert [verdicts["postgres"].state for verdicts, _ in found] == ["down", "up"]
    assert found[0][0]["postgres"].detail == "no answer within 2 s"
    assert (opened, hung.closed) == (2, True)


@pytest.mark.parametrize("hops", [{"run": 0.1, "odd": "x"}, '{"run": 0.1, "odd": null}'])
def test_the_canarys_hops_are_numbers_as_json_or_as_its_text(hops):
    assert read(said(hops=hops)).hops == {"run": 0.1}


@pytest.mark.parametrize("hops", [[1], "[1]", '"text"', 3])
def test_a_canary_that_returned_something_else_has_no_hops(hops):
    assert read(said(hops=hops)).hops == {}


@pytest.mark.parametrize(
    ("trace", "reason"),
    [
        ("Traceback\n  File\nNameError: x\n\n", "NameError: x"),
        (None, "no reason is given"),
        ("", "no reason is given"),
        ("one", "one"),
    ],
)
def test_a_broken_file_is_told_by_the_last_line_of_its_error(trace, reason):
    answer = said(broken=[{"filename": "a.py", "reason": trace}], broken_files=1)
    assert read(answer).broken == (("a.py", reason),)


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
def test_inactive_patches_are_read_from_the_markers_of_both_databases(markers, inactive):
    assert read(said(markers=markers)).inactive_patches == inactive


def test_a_run_with_a_field_more_is_no_answer():
    with pytest.raises(UnexpectedAnswer):
        read(said(runs=[run("canary") | {"conf": {}}]))
