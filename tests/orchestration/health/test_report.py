"""Is it well? Real questions over loopback, joined with what an engine of paper knows."""

import base64
import dataclasses
import threading
from datetime import UTC, datetime, timedelta

import pytest
import requests

from orchestration.engines.base import Service
from orchestration.errors import StackError
from orchestration.health import report as health_report
from orchestration.health.report import Check, Report, Row


def a_row(name="mlflow", healthy=True, state="running", **more):
    values = {"since": None, "restarts": 0, "memory_bytes": None, "detail": "fine"}
    return Row(name, state, healthy, **values | more)


def by_name(parts):
    return {part.name: part for part in parts}


@pytest.fixture
def look(web, engine, make_settings):
    """Look at a stack whose services are stubs; give what differs from all being well."""

    def look(memory=False, **states):
        ports = web.stack_is_well(**states)
        return health_report.look(make_settings(**ports), engine, memory=memory)

    return look


def test_a_stack_that_is_well_is_healthy(look):
    report = look()
    assert report.status == "healthy"
    assert report.waiting() == []
    assert by_name(report.services)["postgres"].detail == "postgres says so"
    assert by_name(report.services)["status"].detail == "answers"
    assert [check.name for check in report.checks] == ["airflow-apiserver", "mlflow", "status"]
    assert all(check.latency_ms >= 0 for check in report.checks)


def test_mlflow_is_asked_through_its_database(look, web):
    look()
    [asked] = web.of("POST /api/2.0/mlflow/experiments/search")
    assert asked.body == {"max_results": 1}


def test_only_mlflow_is_asked_with_an_account_and_that_may_only_read(web, engine, make_settings):
    chosen = make_settings(**web.stack_is_well())
    health_report.look(chosen, engine)
    given = {r.question: r.headers.get("Authorization") for r in web.requests}
    [login] = [header.removeprefix("Basic ") for header in given.values() if header]
    name, _, password = base64.b64decode(login).decode().partition(":")
    assert (name, password) == ("status", chosen["STATUS_PASSWORD"])
    assert given["POST /api/2.0/mlflow/experiments/search"]


@pytest.mark.parametrize("state", ["down", "unknown"])
def test_what_a_service_says_of_itself_counts(look, state):
    report = look(redis=state)
    assert report.status == "degraded"
    assert [row.name for row in report.waiting()] == ["redis"]


def test_a_service_that_does_not_run_is_not_well_whatever_the_page_says(look, engine):
    engine.listed[0] = Service("postgres", "restarting", exit_code=1)
    assert [(row.name, row.detail) for row in look().waiting()] == [("postgres", "restarting")]


def test_a_service_the_page_does_not_know_is_unknown(look, engine):
    engine.listed.append(Service("stranger", "running"))
    [row] = look().waiting()
    assert (row.name, row.detail) == ("stranger", "unknown: the status page does not answer")


def test_a_one_shot_is_well_when_it_ended_well(look, engine):
    engine.listed += [Service("airflow-init", "exited"), Service("mlflow-migrate", "exited")]
    report = look()
    assert report.status == "healthy"
    assert by_name(report.services)["airflow-init"].detail == "done"


@pytest.mark.parametrize(
    ("state", "code", "detail"), [("exited", 1, "exited, exit code 1"), ("running", 0, "running")]
)
def test_a_one_shot_that_failed_or_runs_is_not_well(look, engine, state, code, detail):
    engine.listed.append(Service("airflow-init", state, exit_code=code))
    [row] = look().waiting()
    assert (row.name, row.detail) == ("airflow-init", detail)


SILENT = [StackError("no engine answers: start it"), requests.ConnectionError("reset by peer")]


@pytest.mark.parametrize("fault", ["ps_fails", "memory_fails"])
@pytest.mark.parametrize("error", SILENT, ids=["refused", "lost"])
def test_an_engine_that_does_not_answer_is_a_check_that_is_not_healthy(look, engine, fault, error):
    setattr(engine, fault, error)
    report = look(memory=True)
    assert (report.status, report.services) == ("down", [])
    assert report.checks[0] == Check("engine", False, None, str(error))
    assert [check.healthy for check in report.checks[1:]] == [True] * 3
    told = health_report.explain(report, engine).splitlines()
    assert told == [f"engine: {error}", "Run: inv up"]


def test_a_bug_in_an_engine_is_no_verdict(look, engine):
    engine.ps_fails = KeyError("a bug")
    with pytest.raises(KeyError):
        look()


def test_engine_and_services_are_asked_side_by_side(look, engine, monkeypatch):
    # Whoever comes waits for the four others; asked in turn, the first would wait in vain.
    together = threading.Barrier(5, timeout=5)

    def after_all_came(function):
        def wait(*arguments):
            together.wait()
            return function(*arguments)

        return wait

    for owner, name in ((health_report, "reach"), (engine, "ps"), (engine, "memory")):
        monkeypatch.setattr(owner, name, after_all_came(getattr(owner, name)))
    assert look(memory=True).status == "healthy"


BORN = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


@pytest.mark.parametrize(
    ("seen", "since", "is_heard"),
    [
        ("2026-01-02T03:04:04.999+00:00", BORN, False),
        ("2026-01-02T03:04:05.000+00:00", BORN, True),
        ("2026-01-02T04:04:04+01:00", BORN, False),
        ("2026-01-02T03:04:04+00:00", None, True),
        (None, BORN, True),
    ],
)
def test_what_was_said_of_a_service_before_it_started_does_not_count(seen, since, is_heard):
    verdict = {"name": "redis", "state": "up", "detail": "PONG", "last_seen": seen}
    row = health_report.row(Service("redis", "running", since=since), {"redis": verdict}, {})
    detail = "PONG" if is_heard else "started since, not heard of yet"
    assert (row.healthy, row.detail) == (is_heard, detail)


def test_a_service_that_is_down_is_down_also_when_it_was_seen_before_its_start():
    verdict = {"name": "redis", "state": "down", "detail": "", "last_seen": "2026-01-01T00:00:00Z"}
    row = health_report.row(Service("redis", "running", since=BORN), {"redis": verdict}, {})
    assert (row.healthy, row.detail) == (False, "down")


def test_silent_services_are_told_and_raise_nothing(engine, make_settings, dead_port):
    ports = {"AIRFLOW_PORT": dead_port, "MLFLOW_PORT": dead_port, "STATUS_PORT": dead_port}
    report = health_report.look(make_settings(**ports), engine)
    assert report.status == "down"
    refused = f"http://127.0.0.1:{dead_port}: refused"
    assert [check.detail for check in report.checks] == [refused] * 3
    assert [check.latency_ms for check in report.checks] == [None] * 3
    rows = by_name(report.services)
    assert rows["mlflow"].detail == "unknown: the status page does not answer"
    assert rows["status"].detail == refused


def test_a_service_that_hangs_is_given_up(web, make_settings, monkeypatch):
    monkeypatch.setattr(health_report, "PATIENCE_SECONDS", 0.1)
    web.answers["GET /api/v2/version"] = (200, None)
    check, document = health_report.reach(make_settings(AIRFLOW_PORT=web.port), "airflow-apiserver")
    assert (check.healthy, check.latency_ms, document) == (False, None, {})
    assert check.detail.endswith("no answer within 0.1 s")


def test_a_stranger_that_speaks_no_json_is_not_well(web, make_settings):
    web.answers["GET /api/v2/version"] = (200, b"<html>welcome</html>")
    check, _ = health_report.reach(make_settings(AIRFLOW_PORT=web.port), "airflow-apiserver")
    assert not check.healthy
    assert check.detail.endswith("no JSON in the answer")


def test_an_error_code_is_not_well(web, make_settings):
    web.answers["GET /api/v2/version"] = (500, {"detail": "boom"})
    check, _ = health_report.reach(make_settings(AIRFLOW_PORT=web.port), "airflow-apiserver")
    assert not check.healthy
    assert check.detail == f"{web.url}: HTTP 500"


def test_the_status_page_is_well_when_it_tells_of_an_ill_stack(web, make_settings):
    web.answers["GET /status.json"] = (503, {"services": []})
    check, _ = health_report.reach(make_settings(STATUS_PORT=web.port), "status")
    assert check.healthy
    web.answers["GET /status.json"] = (503, {"detail": "a proxy"})
    check, _ = health_report.reach(make_settings(STATUS_PORT=web.port), "status")
    assert not check.healthy


def test_no_proxy_stands_between_this_machine_and_its_own_stack(
    web, make_settings, monkeypatch, dead_port
):
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{dead_port}")
    web.stack_is_well()
    check, _ = health_report.reach(make_settings(AIRFLOW_PORT=web.port), "airflow-apiserver")
    assert check.healthy


@pytest.mark.parametrize(
    "document",
    [
        b"[]",
        b"null",
        b'"hello"',
        b'{"services": null}',
        b'{"services": {"redis": 1}}',
        b'{"services": ["redis", {}, {"name": "redis"}]}',
    ],
)
def test_a_stranger_on_the_pages_port_raises_nothing(web, engine, make_settings, document):
    ports = web.stack_is_well()
    web.answers["GET /status.json"] = (200, document)
    assert health_report.look(make_settings(**ports), engine).status != "healthy"


def test_memory_is_asked_only_when_wanted(look, engine):
    engine.held = {"mlflow": 123}
    assert by_name(look().services)["mlflow"].memory_bytes is None
    rows = by_name(look(memory=True).services)
    assert rows["mlflow"].memory_bytes == 123
    assert rows["redis"].memory_bytes is None


def test_nothing_healthy_is_down_and_anything_between_is_degraded():
    check = Check("mlflow", True, 1.0, "")
    assert Report("docker", [a_row()], [check]).status == "healthy"
    assert Report("docker", [a_row(), a_row(healthy=False)], [check]).status == "degraded"
    assert Report("docker", [a_row()], [dataclasses.replace(check, healthy=False)]).status == (
        "degraded"
    )
    assert Report("docker", [a_row(healthy=False)], [check]).status == "down"


def test_a_stopped_stack_is_down_although_its_one_shots_ended_well(
    engine, make_settings, dead_port
):
    ports = {"AIRFLOW_PORT": dead_port, "MLFLOW_PORT": dead_port, "STATUS_PORT": dead_port}
    engine.listed = [Service("airflow-init", "exited"), Service("mlflow", "exited")]
    assert health_report.look(make_settings(**ports), engine).status == "down"


def test_the_document_for_machines_has_the_promised_keys(look):
    document = look().as_dict()
    assert list(document) == ["status", "engine", "services", "checks", "work"]
    assert document["engine"] == "docker"
    assert list(document["services"][0]) == [
        "name",
        "state",
        "healthy",
        "since",
        "restarts",
        "memory_bytes",
        "detail",
    ]
    assert list(document["checks"][0]) == ["name", "healthy", "latency_ms", "detail"]


def test_work_is_told_and_does_not_make_the_stack_unwell(look, web):
    told = {"name": "training", "state": "down", "detail": "failed after 9 s", "at": None}
    report = look(work=[told, {"name": "half of one"}, "none"])
    assert report.status == "healthy"
    assert report.as_dict()["work"] == [told]


def test_a_page_that_tells_of_no_work_is_read_all_the_same(look):
    assert look(work=None).work == look(work="junk").work == []


def test_the_time_of_a_service_is_written_as_iso(look, engine):
    moment = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    engine.listed[0] = Service("postgres", "running", since=moment, restarts=3)
    row = by_name(look().services)["postgres"]
    assert (row.since, row.restarts) == ("2026-01-02T03:04:05+00:00", 3)


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(5, "5 s"), (119, "119 s"), (121, "2 min"), (7300, "2 h"), (180000, "2 d"), (-60, "0 s")],
)
def test_uptime_is_in_words_of_one_unit(seconds, words):
    since = datetime.now(UTC) - timedelta(seconds=seconds, milliseconds=1)
    assert health_report.uptime(a_row(since=since.isoformat())) == words


def test_uptime_of_what_never_started_is_blank():
    assert health_report.uptime(a_row(since=None)) == ""


def test_the_explanation_names_the_service_its_last_words_and_the_next_command(engine):
    engine.said = {"redis": "one\ntwo\nthree"}
    bad = a_row("redis", healthy=False, detail="exited")
    check = Check("mlflow", False, None, "refused")
    told = health_report.explain(Report("docker", [a_row(), bad], [check]), engine, lines=2)
    assert told.splitlines() == [
        "redis: exited",
        "mlflow: refused",
        "last lines of redis:",
        "  two",
        "  three",
        "Run: inv logs -s redis",
    ]


def test_what_does_not_run_is_explained_before_what_waits_for_it(engine):
    waits = a_row("airflow-worker", healthy=False)
    cause = a_row("redis", healthy=False, state="restarting")
    told = health_report.explain(Report("docker", [waits, cause], []), engine)
    assert told.endswith("Run: inv logs -s redis")


def test_where_all_is_well_there_is_nothing_to_explain(engine):
    assert health_report.explain(Report("docker", [a_row()], []), engine) == ""


def test_a_check_alone_is_explained_too(engine):
    told = health_report.explain(
        Report("docker", [a_row()], [Check("mlflow", False, None, "x")]), engine
    )
    assert told.splitlines() == ["mlflow: x", "Run: inv up"]


def test_logs_that_cannot_be_read_are_left_out(engine, monkeypatch):
    def unreadable(service, lines):
        raise StackError("no such container")

    monkeypatch.setattr(engine, "tail", unreadable)
    assert list(health_report.last_words(engine, "redis", 5)) == []


@pytest.mark.parametrize("state", ["absent", "created", "orphaned"])
def test_the_next_command_for_what_was_not_started_is_up(engine, state):
    row = Row("redis", state, False, None, 0, None, state)
    told = health_report.explain(Report("docker", [row], []), engine)
    assert told.splitlines() == [f"redis: {state}", "Run: inv up"]


@pytest.mark.parametrize(("well", "told"), [(True, "answers with TLS"), (False, "no page answers")])
def test_the_proxy_is_well_when_a_page_answers_through_it(engine, make_settings, web, well, told):
    engine.listed.append(Service("tls", "running"))
    ports = web.stack_is_well() if well else {"AIRFLOW_PORT": 9, "MLFLOW_PORT": 9, "STATUS_PORT": 9}
    row = by_name(health_report.look(make_settings(**ports), engine).services)["tls"]
    assert (row.healthy, told in row.detail) == (well, True)
