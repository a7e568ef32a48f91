"""Test the health report with services on an HTTP stub and a fake engine."""

import base64
import dataclasses
import threading
from datetime import UTC, datetime, timedelta

import pytest
import requests

from orchestration.engines.base import Service
from orchestration.errors import StackError
from orchestration.health import report as health_report
from orchestration.health import stale_dags
from orchestration.health.report import Check, Report, Row


def make_row(name="mlflow", healthy=True, state="running", **more):
    values = {"since": None, "restarts": 0, "memory_bytes": None, "detail": "fine"}
    return Row(name, state, healthy, **values | more)


def by_name(parts):
    return {part.name: part for part in parts}


@pytest.fixture
def collect(web, engine, make_settings):
    """Return a report about a healthy stack of stubs, except for the given states."""

    def collect(memory=False, **states):
        collect.settings = make_settings(**web.serve_stack(**states))
        return health_report.collect(collect.settings, engine, memory=memory)

    return collect


def test_collect_from_a_healthy_stack_is_healthy(collect):
    report = collect()
    assert report.status == "healthy"
    assert report.unhealthy() == []
    assert by_name(report.services)["postgres"].detail == "detail of postgres"
    assert by_name(report.services)["status"].detail == "answers"
    assert [check.name for check in report.checks] == ["airflow-apiserver", "mlflow", "status"]
    assert all(check.latency_ms >= 0 for check in report.checks)


def test_collect_queries_mlflow_through_its_database(collect, web):
    collect()
    [request] = web.requests_for("POST /api/2.0/mlflow/experiments/search")
    assert request.body == {"max_results": 1}


def test_collect_uses_a_read_only_account_for_mlflow_only(web, engine, make_settings):
    chosen = make_settings(**web.serve_stack())
    health_report.collect(chosen, engine)
    headers = {r.endpoint: r.headers.get("Authorization") for r in web.requests}
    [login] = [header.removeprefix("Basic ") for header in headers.values() if header]
    name, _, password = base64.b64decode(login).decode().partition(":")
    assert (name, password) == ("status", chosen["STATUS_PASSWORD"])
    assert headers["POST /api/2.0/mlflow/experiments/search"]


@pytest.mark.parametrize("state", ["down", "unknown"])
def test_collect_uses_the_status_pages_verdict(collect, state):
    report = collect(redis=state)
    assert report.status == "degraded"
    assert [row.name for row in report.unhealthy()] == ["redis"]


def test_collect_stopped_service_is_unhealthy_despite_its_verdict(collect, engine):
    engine.ps_result[0] = Service("postgres", "restarting", exit_code=1)
    assert [(row.name, row.detail) for row in collect().unhealthy()] == [("postgres", "restarting")]


@pytest.mark.parametrize(
    ("health", "healthy", "detail"),
    [("healthy", True, "healthy"), ("", True, "running"), ("starting", False, "starting"),
     ("unhealthy", False, "unhealthy")],
)  # fmt: skip
def test_collect_judges_the_users_own_services_by_their_health_check(
    collect, engine, health, healthy, detail
):
    engine.ps_result.append(Service("airflow-worker-gpu", "running", health))
    row = by_name(collect().services)["airflow-worker-gpu"]
    assert (row.healthy, row.detail) == (healthy, detail)


def test_collect_without_a_status_page_services_are_unknown(collect, engine, web):
    collect()
    web.answers["GET /status.json"] = (500, b"error")
    report = health_report.collect(collect.settings, engine)
    details = {row.detail for row in report.services if row.name != "status"}
    assert details == {"unknown: the status page does not answer"}


def test_collect_successful_init_job_is_healthy(collect, engine):
    engine.ps_result += [Service("airflow-init", "exited"), Service("mlflow-migrate", "exited")]
    report = collect()
    assert report.status == "healthy"
    assert by_name(report.services)["airflow-init"].detail == "done"


@pytest.mark.parametrize(
    ("state", "code", "detail"), [("exited", 1, "exited, exit code 1"), ("running", 0, "running")]
)
def test_collect_failed_or_running_init_job_is_unhealthy(collect, engine, state, code, detail):
    engine.ps_result.append(Service("airflow-init", state, exit_code=code))
    [row] = collect().unhealthy()
    assert (row.name, row.detail) == ("airflow-init", detail)


ENGINE_ERRORS = [
    StackError("no engine answers: start it"),
    requests.ConnectionError("reset by peer"),
]


@pytest.mark.parametrize("fault", ["ps_fails", "memory_fails"])
@pytest.mark.parametrize("error", ENGINE_ERRORS, ids=["refused", "lost"])
def test_collect_without_an_engine_reports_a_failed_check(collect, engine, fault, error):
    setattr(engine, fault, error)
    report = collect(memory=True)
    assert (report.status, report.services) == ("down", [])
    assert report.checks[0] == Check("engine", False, None, str(error))
    assert [check.healthy for check in report.checks[1:]] == [True] * 3
    lines = health_report.explain(report, engine).splitlines()
    assert lines == [f"engine: {error}", "Run: inv up"]


def test_collect_raises_other_errors_of_the_engine(collect, engine):
    engine.ps_fails = KeyError("a bug")
    with pytest.raises(KeyError):
        collect()


def test_collect_queries_engine_and_services_in_parallel(collect, engine, monkeypatch):
    # Each of the five calls waits for the others. One after the other would time out.
    together = threading.Barrier(5, timeout=5)

    def after_all_arrived(function):
        def wait(*arguments):
            together.wait()
            return function(*arguments)

        return wait

    for owner, name in ((health_report, "probe"), (engine, "ps"), (engine, "memory")):
        monkeypatch.setattr(owner, name, after_all_arrived(getattr(owner, name)))
    assert collect(memory=True).status == "healthy"


STARTED = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


@pytest.mark.parametrize(
    ("seen", "since", "is_healthy"),
    [
        ("2026-01-02T03:04:04.999+00:00", STARTED, False),
        ("2026-01-02T03:04:05.000+00:00", STARTED, True),
        ("2026-01-02T04:04:04+01:00", STARTED, False),
        ("2026-01-02T03:04:04+00:00", None, True),
        (None, STARTED, True),
    ],
)
def test_row_ignores_a_verdict_older_than_the_start(seen, since, is_healthy):
    verdict = {"name": "redis", "state": "up", "detail": "PONG", "last_seen": seen}
    row = health_report.row(Service("redis", "running", since=since), {"redis": verdict}, {})
    detail = "PONG" if is_healthy else "started, not checked yet"
    assert (row.healthy, row.detail) == (is_healthy, detail)


@pytest.mark.parametrize(
    ("restarts", "seconds", "is_healthy"),
    [(3, 5, False), (30, 39, False), (3, 41, True), (2, 5, True)],
)
def test_row_of_a_service_between_two_restarts_is_unhealthy(restarts, seconds, is_healthy):
    since = datetime.now(UTC) - timedelta(seconds=seconds)
    service = Service("redis", "running", since=since, restarts=restarts)
    row = health_report.row(service, {"redis": {"state": "up", "detail": "PONG"}}, {})
    detail = "PONG" if is_healthy else f"restarted {restarts} times, the last time just now"
    assert (row.healthy, row.detail) == (is_healthy, detail)


def test_row_of_a_restarted_service_that_is_down_has_its_own_reason():
    service = Service("redis", "running", since=datetime.now(UTC), restarts=9)
    row = health_report.row(service, {"redis": {"state": "down", "detail": "refused"}}, {})
    assert (row.healthy, row.detail) == (False, "refused")


def test_row_with_an_old_verdict_down_is_down():
    verdict = {"name": "redis", "state": "down", "detail": "", "last_seen": "2026-01-01T00:00:00Z"}
    row = health_report.row(Service("redis", "running", since=STARTED), {"redis": verdict}, {})
    assert (row.healthy, row.detail) == (False, "down")


def test_collect_without_answers_reports_each_service(engine, make_settings, dead_port):
    ports = {"AIRFLOW_PORT": dead_port, "MLFLOW_PORT": dead_port, "STATUS_PORT": dead_port}
    report = health_report.collect(make_settings(**ports), engine)
    assert report.status == "down"
    refused = f"http://127.0.0.1:{dead_port}: refused"
    assert [check.detail for check in report.checks] == [refused] * 3
    assert [check.latency_ms for check in report.checks] == [None] * 3
    rows = by_name(report.services)
    assert rows["mlflow"].detail == "unknown: the status page does not answer"
    assert rows["status"].detail == refused


def test_probe_of_a_hanging_service_times_out(web, make_settings, monkeypatch):
    monkeypatch.setattr(health_report, "TIMEOUT_SECONDS", 0.1)
    web.answers["GET /api/v2/version"] = (200, None)
    check, document = health_report.probe(make_settings(AIRFLOW_PORT=web.port), "airflow-apiserver")
    assert (check.healthy, check.latency_ms, document) == (False, None, {})
    assert check.detail.endswith("no answer within 0.1 s")


def test_probe_of_an_answer_without_json_is_unhealthy(web, make_settings):
    web.answers["GET /api/v2/version"] = (200, b"<html>welcome</html>")
    check, _ = health_report.probe(make_settings(AIRFLOW_PORT=web.port), "airflow-apiserver")
    assert not check.healthy
    assert check.detail.endswith("the answer is not a JSON object")


def test_probe_of_an_error_status_is_unhealthy(web, make_settings):
    web.answers["GET /api/v2/version"] = (500, {"detail": "boom"})
    check, _ = health_report.probe(make_settings(AIRFLOW_PORT=web.port), "airflow-apiserver")
    assert not check.healthy
    assert check.detail == f"{web.url}: HTTP 500"


def test_probe_of_a_status_page_with_unhealthy_services_is_healthy(web, make_settings):
    web.answers["GET /status.json"] = (503, {"services": []})
    check, _ = health_report.probe(make_settings(STATUS_PORT=web.port), "status")
    assert check.healthy
    web.answers["GET /status.json"] = (503, {"detail": "a proxy"})
    check, _ = health_report.probe(make_settings(STATUS_PORT=web.port), "status")
    assert not check.healthy


def test_probe_ignores_proxy_variables(web, make_settings, monkeypatch, dead_port):
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{dead_port}")
    web.serve_stack()
    check, _ = health_report.probe(make_settings(AIRFLOW_PORT=web.port), "airflow-apiserver")
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
def test_collect_with_a_malformed_status_document_is_unhealthy(
    web, engine, make_settings, document
):
    ports = web.serve_stack()
    web.answers["GET /status.json"] = (200, document)
    assert health_report.collect(make_settings(**ports), engine).status != "healthy"


WORK = [{"name": name, "state": "up", "detail": "its own"} for name in ("canary", "champion")]


@pytest.mark.parametrize(
    ("owner", "whose"),
    [
        ({"project": "flights-other", "stack": "0f9e"}, "another stack (flights-other)"),
        # A copy of the folder with its .env has the same project name.
        ({"stack": "0f9e"}, "another clone"),
        ({"project": None}, "a page without a project, of another or an older stack,"),
    ],
)
def test_collect_never_shows_data_of_another_stack(web, engine, make_settings, owner, whose):
    settings = make_settings(**web.serve_stack(work=WORK))
    code, document = web.answers["GET /status.json"]
    web.answers["GET /status.json"] = (code, document | owner)
    report = health_report.collect(settings, engine)
    assert (report.work, report.status) == ([], "down")
    details = {check.detail for check in report.checks if not check.healthy}
    assert details == {f"{settings.url('STATUS_PORT')}: {whose} answers here"}
    assert not [row.name for row in report.services if row.healthy]
    text = health_report.explain(report, engine)
    assert "its own" not in text
    last = text.splitlines()[-1]
    assert last.startswith("Set AIRFLOW_PORT, MLFLOW_PORT, STATUS_PORT in .env to free ports")


@pytest.mark.parametrize("with_inv", [True, False])
def test_collect_accepts_the_page_of_its_own_stack(web, engine, make_settings, with_inv):
    settings = make_settings(**web.serve_stack(work=WORK))
    code, document = web.answers["GET /status.json"]
    stack = settings.stack_id if with_inv else ""
    web.answers["GET /status.json"] = (code, document | {"stack": stack})
    report = health_report.collect(settings, engine)
    assert [entry.name for entry in report.work] == ["canary", "champion"]
    assert report.status == "healthy"


def test_collect_includes_memory_only_on_request(collect, engine):
    engine.memory_use = {"mlflow": 123}
    assert by_name(collect().services)["mlflow"].memory_bytes is None
    rows = by_name(collect(memory=True).services)
    assert rows["mlflow"].memory_bytes == 123
    assert rows["redis"].memory_bytes is None


def test_status_is_healthy_degraded_or_down():
    check = Check("mlflow", True, 1.0, "")
    assert Report("docker", [make_row()], [check]).status == "healthy"
    assert Report("docker", [make_row(), make_row(healthy=False)], [check]).status == "degraded"
    assert Report("docker", [make_row()], [dataclasses.replace(check, healthy=False)]).status == (
        "degraded"
    )
    assert Report("docker", [make_row(healthy=False)], [check]).status == "down"


def test_collect_with_only_successful_init_jobs_is_down(engine, make_settings, dead_port):
    ports = {"AIRFLOW_PORT": dead_port, "MLFLOW_PORT": dead_port, "STATUS_PORT": dead_port}
    engine.ps_result = [Service("airflow-init", "exited"), Service("mlflow", "exited")]
    assert health_report.collect(make_settings(**ports), engine).status == "down"


def test_as_dict_has_the_documented_keys(collect):
    document = collect().as_dict()
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


def test_collect_failed_work_is_degraded_but_no_service_is_unhealthy(collect, engine):
    entry = {"name": "training", "state": "down", "detail": "failed after 9 s", "at": None}
    entry |= {"dag": None}
    report = collect(work=[entry, {"name": "incomplete"}, "none"])
    assert (report.status, report.unhealthy()) == ("degraded", [])
    assert report.as_dict()["work"] == [entry]
    lines = health_report.explain(report, engine).splitlines()
    assert lines == ["training: failed after 9 s", "Run: inv doctor"]


def test_collect_stale_dag_file_is_degraded(web, engine, make_settings, monkeypatch):
    monkeypatch.setattr(stale_dags, "SETTLED_SECONDS", -1)
    settings = make_settings(**web.serve_stack())
    file = settings.project_dir / "dags/a.py"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("create_dags()\n")
    code, document = web.answers["GET /status.json"]
    stale = [{"name": "a.py", "parsed": (datetime.now(UTC) + timedelta(hours=1)).isoformat()}]
    web.answers["GET /status.json"] = (code, document | {"stale_files": stale})
    report = health_report.collect(settings, engine)
    assert (report.status, report.unhealthy()) == ("degraded", [])
    assert [entry["name"] for entry in report.as_dict()["work"]] == ["stale-dags"]


@pytest.mark.parametrize(("name", "state"), [("drift", "degraded"), ("training", "running")])
def test_collect_drift_and_running_work_are_healthy(collect, name, state):
    entry = {"name": name, "state": state, "detail": "2013-04: 36% of the columns", "at": None}
    entry |= {"dag": None}
    assert collect(work=[entry]).status == "healthy"


def test_collect_without_work_on_the_page_has_none(collect):
    assert collect(work=None).work == collect(work="junk").work == []


def test_collect_writes_start_times_as_iso_8601(collect, engine):
    moment = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    engine.ps_result[0] = Service("postgres", "running", since=moment, restarts=3)
    row = by_name(collect().services)["postgres"]
    assert (row.since, row.restarts) == ("2026-01-02T03:04:05+00:00", 3)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(5, "5 s"), (119, "119 s"), (121, "2 min"), (7300, "2 h"), (180000, "2 d"), (-60, "0 s")],
)
def test_uptime_is_in_one_unit(seconds, text):
    since = datetime.now(UTC) - timedelta(seconds=seconds, milliseconds=1)
    assert health_report.uptime(make_row(since=since.isoformat())) == text


def test_uptime_without_a_start_is_blank():
    assert health_report.uptime(make_row(since=None)) == ""


def test_explain_reports_reasons_log_and_next_command(engine):
    engine.log_text = {"redis": "one\ntwo\nthree"}
    unhealthy = make_row("redis", healthy=False, detail="exited")
    check = Check("mlflow", False, None, "refused")
    text = health_report.explain(
        Report("docker", [make_row(), unhealthy], [check]), engine, lines=2
    )
    assert text.splitlines() == [
        "redis: exited",
        "mlflow: refused",
        "Last lines of redis:",
        "  two",
        "  three",
        "Run: inv logs -s redis",
    ]


def test_explain_prefers_a_service_that_is_not_running(engine):
    waits = make_row("airflow-worker", healthy=False)
    cause = make_row("redis", healthy=False, state="restarting")
    text = health_report.explain(Report("docker", [waits, cause], []), engine)
    assert text.endswith("Run: inv logs -s redis")


@pytest.mark.parametrize(
    "postgres", [{"state": "exited"}, {"state": "running", "verdict": "down"}], ids=["out", "hangs"]
)
def test_explain_points_to_a_database_that_is_down(engine, postgres):
    rows = [make_row(name, healthy=False, state="restarting")
            for name in ("airflow-triggerer", "mlflow")]  # fmt: skip
    rows += [make_row("status", healthy=False), make_row("postgres", healthy=False, **postgres)]
    checks = [Check("mlflow", False, None, "refused")]
    lines = health_report.explain(Report("docker", rows, checks), engine).splitlines()
    names = [line.partition(":")[0] for line in lines[:-1]]
    assert names == ["postgres", "airflow-triggerer", "mlflow", "status", "mlflow"]
    assert lines[-1] == "Run: inv logs -s postgres"


def test_explain_points_to_a_stopped_status_page_if_nothing_else_is_known(engine):
    unknown = [make_row(name, healthy=False) for name in ("postgres", "redis", "mlflow")]
    stopped = make_row("status", healthy=False, state="exited")
    text = health_report.explain(Report("docker", [*unknown, stopped], []), engine)
    assert text.endswith("Run: inv logs -s status")


def test_explain_of_a_healthy_report_is_blank(engine):
    assert health_report.explain(Report("docker", [make_row()], []), engine) == ""


def test_explain_of_a_failed_check_suggests_up(engine):
    text = health_report.explain(
        Report("docker", [make_row()], [Check("mlflow", False, None, "x")]), engine
    )
    assert text.splitlines() == ["mlflow: x", "Run: inv up"]


def test_last_log_lines_of_an_unreadable_log_are_empty(engine, monkeypatch):
    def unreadable(service, lines):
        raise StackError("no such container")

    monkeypatch.setattr(engine, "tail", unreadable)
    assert list(health_report.last_log_lines(engine, "redis", 5)) == []


@pytest.mark.parametrize("state", ["absent", "created", "orphaned"])
def test_explain_of_a_service_that_never_started_suggests_up(engine, state):
    row = Row("redis", state, False, None, 0, None, state)
    text = health_report.explain(Report("docker", [row], []), engine)
    assert text.splitlines() == [f"redis: {state}", "Run: inv up"]


@pytest.mark.parametrize(
    ("answers", "detail"), [(True, "answers with TLS"), (False, "no page answers")]
)
def test_collect_proxy_is_healthy_if_a_page_answers(engine, make_settings, web, answers, detail):
    engine.ps_result.append(Service("tls", "running"))
    ports = (
        web.serve_stack() if answers else {"AIRFLOW_PORT": 9, "MLFLOW_PORT": 9, "STATUS_PORT": 9}
    )
    row = by_name(health_report.collect(make_settings(**ports), engine).services)["tls"]
    assert (row.healthy, detail in row.detail) == (answers, True)
