"""Test the doctor with every failure that state and logs show, and with a healthy stack."""

import json
import shutil
import socket
import stat
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from orchestration.clients import accounts
from orchestration.commands import doctor as doctor_command
from orchestration.doctor import diagnose, log_scan, state_checks
from orchestration.engines import factory
from orchestration.engines.base import SETTLED, Service
from orchestration.errors import Problem, StackError
from orchestration.host import clocks, ports, resources
from orchestration.host.drafts import draft_env
from orchestration.host.resources import Host
from orchestration.settings.model import SECRETS
from tests.orchestration.doctor.test_log_patterns import HEALTHY, HOST
from tests.support.fake_engine import LONG_RUNNING

NOW = datetime.now(UTC)
HOUR = timedelta(hours=1)
ALL = (*LONG_RUNNING, "airflow-apiserver")
FOLDERS = ("dags", "logs", "plugins")


@pytest.fixture
def installed(project, clone, web, engine, monkeypatch, repo):
    """An installed clone whose stack has been running and healthy for an hour."""
    for name, port in web.serve_stack(services=ALL).items():
        monkeypatch.setenv(name, str(port))
    text, _ = draft_env(project)
    (clone / ".env").write_text(text.replace("STACK_ENGINE=auto", "STACK_ENGINE=docker"))
    (clone / ".env").chmod(0o600)
    shutil.copy(repo / "orchestration/docker-compose.yaml", clone / "orchestration")
    for name in FOLDERS:
        (clone / name).mkdir()
    engine.ps_result = [Service(name, "running", since=NOW - HOUR) for name in ALL]
    engine.ps_result += [Service("airflow-init", "exited", since=NOW - HOUR)]
    engine.log_text = dict(HEALTHY)
    engine.host_facts = Host(folders=(clone,))
    monkeypatch.setattr(state_checks, "disk_problems", lambda folders, data_gib: [])
    monkeypatch.setattr(factory, "engine_for", lambda settings: engine)
    # The stub listens on all three ports, which would look taken.
    monkeypatch.setattr(state_checks, "port_problem", lambda settings, service: None)
    return clone


@pytest.fixture
def examine(project, installed, engine):
    """Return the problems that the doctor finds."""
    return lambda failure="": diagnose.examine(project, failure)


@pytest.fixture
def report(project, installed, engine):
    """Print what the doctor finds; return whether it is nothing."""
    return lambda as_json: doctor_command.run(project, as_json=as_json)


@pytest.fixture
def examine_one(examine):
    """Return the only problem that the doctor finds."""

    def examine_one():
        [found] = examine()
        return found

    return examine_one


def set_service(engine, name, **changes):
    engine.ps_result = [replace(s, **changes) if s.name == name else s for s in engine.ps_result]


def set_old_log(engine, name, text, *, ago):
    """Let the engine return a service's log whose lines were printed that long ago."""

    def tail(service, lines, since=None):
        printed = datetime.now(UTC) - ago
        return text if service == name and (since is None or printed >= since) else ""

    engine.tail = tail


# Healthy stack


def test_run_on_a_healthy_stack_prints_one_line(report, capsys):
    assert report(as_json=False)
    assert capsys.readouterr().out == "No known problems. All services are healthy.\n"


def test_run_as_json_on_a_healthy_stack_is_well(report, capsys):
    assert report(as_json=True)
    assert json.loads(capsys.readouterr().out) == {"status": "well", "findings": []}


def test_examine_changes_nothing(installed, examine, engine):
    before = {path: path.stat().st_mtime_ns for path in installed.rglob("*")}
    examine()
    assert {path: path.stat().st_mtime_ns for path in installed.rglob("*")} == before
    assert engine.calls == []


def test_run_prints_a_problem_as_two_lines_or_an_object(report, engine, capsys):
    set_service(engine, "redis", state="exited")
    assert not report(as_json=False)
    lines = "service-stopped (redis): redis is not running.\n  Run: inv up\n"
    assert capsys.readouterr().out == lines
    assert not report(as_json=True)
    finding = {"name": "service-stopped", "cause": "redis is not running.", "fix": "inv up",
               "where": "redis"}  # fmt: skip
    assert json.loads(capsys.readouterr().out) == {"status": "findings", "findings": [finding]}


# The file .env


def test_env_missing_is_not_installed(installed, examine_one):
    (installed / ".env").unlink()
    found = examine_one()
    assert (found.code, found.fix) == ("not-installed", "inv install")
    assert not (installed / ".env").exists()


def test_env_lost_names_the_data_and_how_to_delete_it(installed, engine, examine_one):
    (installed / ".env").unlink()
    engine.volumes = ["x_postgres"]
    found = examine_one()
    assert found.code == "env-lost"
    assert "x_postgres" in found.cause
    assert "inv down --volumes --yes" in found.fix


def test_interrupted_rotation_is_reported_without_values(installed, examine):
    (installed / ".env.rotating").write_text("REDIS_PASSWORD=m4de-up\n")
    [found] = [one for one in examine() if one.code == "rotation-unfinished"]
    assert ("REDIS_PASSWORD" in found.cause, found.fix) == (True, "inv up")
    assert "m4de-up" not in str(found)


def test_env_with_an_ambiguous_line_names_the_line(installed, examine_one):
    with (installed / ".env").open("a") as file:
        file.write("SMTP_USER: me\n")
    found = examine_one()
    assert found.code == "env-unusable"
    assert "line " in found.cause
    assert "SMTP_USER" not in found.fix


def test_env_readable_by_others_is_reported_unchanged(installed, examine_one):
    (installed / ".env").chmod(0o644)
    assert (examine_one().code, examine_one().fix) == ("env-readable", "chmod 600 .env")
    assert stat.S_IMODE((installed / ".env").stat().st_mode) == 0o644


def test_weak_secret_is_reported_without_its_value(installed, examine_one, monkeypatch):
    monkeypatch.setenv("AIRFLOW_JWT_SECRET", "sesame")
    found = examine_one()
    assert found.code == "weak-secret"
    assert "AIRFLOW_JWT_SECRET" in found.cause
    assert "sesame" not in str(found)


def test_examine_with_engine_auto_uses_the_working_one(project, installed, engine, monkeypatch):
    monkeypatch.setenv("STACK_ENGINE", "auto")
    engines = {"docker": type(engine)(), "standalone": engine}
    engines["docker"].reasons = [problem("engine-unreachable")]
    monkeypatch.setattr(factory, "engine_for", lambda settings: engines[settings.engine])
    assert diagnose.examine(project) == []


# Engine and machine


def problem(code):
    return Problem(code, f"It is {code}.", "Fix it.", "machine")


def test_unfit_engine_is_not_queried_further(engine, examine_one):
    engine.reasons, engine.ps_fails = [problem("engine-unfit")], AssertionError("queried")
    assert examine_one() == problem("engine-unfit")


def test_engine_that_rejects_the_compose_file_is_reported(engine, examine):
    engine.ps_fails = StackError(
        "docker compose config\nexited with code 15:\nyaml: line 3: mapping"
    )
    found = {one.code: one for one in examine()}
    assert found["engine-refuses"].cause.endswith("yaml: line 3: mapping")


def test_problems_of_the_engines_host_are_reported(engine, examine_one):
    engine.host_facts = Host((problem("folder-rights"),))
    assert examine_one() == problem("folder-rights")


@pytest.mark.parametrize(("seconds", "codes"), [(0, []), (29, []), (600, ["clock-skewed"])])
def test_clock_skewed_is_reported_from_30_seconds(engine, examine, seconds, codes):
    engine.host_facts = Host(clock_ahead=seconds)
    assert [one.code for one in examine()] == codes


def test_clock_in_the_past_is_reported(examine_one, monkeypatch):
    monkeypatch.setattr(clocks, "now", lambda: datetime(2020, 1, 1, tzinfo=UTC))
    assert (examine_one().code, examine_one().fix) == ("clock-skewed", clocks.SET_CLOCK)


@pytest.mark.parametrize(
    ("free", "built", "codes"),
    [(50, True, []), (5, True, []), (1.9, True, ["disk-full"]), (5, False, ["disk-full"])],
)
def test_disk_full_depends_on_what_is_built(engine, examine, monkeypatch, free, built, codes):
    monkeypatch.setattr(state_checks, "disk_problems", resources.disk_problems)
    usage = type("Usage", (), {"free": int(free * 2**30)})
    monkeypatch.setattr(resources.shutil, "disk_usage", lambda place: usage)
    engine.built = built
    assert [one.code for one in examine()] == codes


@pytest.mark.parametrize(
    ("index", "ahead", "codes"),
    [("", None, []), ("pypi.org", 0.0, []), ("pypi.org", None, ["index-unreachable"])],
)
def test_index_unreachable_counts_only_before_a_build(engine, examine, index, ahead, codes):
    engine.host_facts = Host(index=index, index_ahead=ahead)
    assert [one.code for one in examine()] == codes


# Ports


@pytest.fixture
def foreign_port(installed, monkeypatch):
    """A port that another program uses, with real port checks."""
    monkeypatch.setattr(state_checks, "port_problem", ports.port_problem)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield listening.getsockname()[1]


@pytest.fixture
def down(installed, engine, web):
    """Stop all services of the stack."""
    engine.ps_result = [Service(name, "absent") for name in (*ALL, "airflow-init")]
    engine.log_text = {}
    web.answers.clear()


def test_stack_down_with_free_ports_is_reported(down, dead_port, examine_one, monkeypatch):
    for name in ("AIRFLOW_PORT", "MLFLOW_PORT", "STATUS_PORT"):
        monkeypatch.setenv(name, str(dead_port))
    assert (examine_one().code, examine_one().fix) == ("stack-down", "inv up")


def test_port_taken_by_another_program_is_reported(
    down, dead_port, foreign_port, examine, monkeypatch
):
    for name in ("AIRFLOW_PORT", "STATUS_PORT"):
        monkeypatch.setenv(name, str(dead_port))
    monkeypatch.setenv("MLFLOW_PORT", str(foreign_port))
    taken, stopped = examine()
    assert (taken.code, taken.where) == ("port-taken", "mlflow")
    assert f"Port {foreign_port} on 127.0.0.1 is already in use" in taken.cause
    assert taken.fix == "Stop that program, or set MLFLOW_PORT in .env, then run: inv up"
    assert stopped.code == "stack-down"


def test_port_taken_is_checked_only_for_stopped_services(engine, foreign_port, examine_one):
    # The stub uses the port of the stopped service, as another program would.
    set_service(engine, "mlflow", state="created")
    assert (examine_one().code, examine_one().where) == ("port-taken", "mlflow")


# Services


def test_service_stopped_explains_the_services_that_need_it(engine, web, examine_one):
    set_service(engine, "redis", state="exited", exit_code=0)
    web.serve_stack(services=ALL, **{"airflow-worker": "unknown", "redis": "down"})
    assert (examine_one().code, examine_one().where) == ("service-stopped", "redis")


def test_service_paused_suggests_unpause(engine, examine_one):
    set_service(engine, "redis", state="paused")
    assert (examine_one().code, examine_one().where) == ("service-paused", "redis")
    assert "unpause" in examine_one().fix


def test_service_unhealthy_without_a_cause_suggests_its_log(engine, web, examine_one):
    web.serve_stack(services=ALL, mlflow="down")
    assert (examine_one().code, examine_one().fix) == ("service-not-well", "inv logs -s mlflow")


def test_init_job_failed_suggests_its_log(engine, examine_one):
    set_service(engine, "airflow-init", exit_code=1)
    assert (examine_one().code, examine_one().fix) == (
        "one-shot-failed",
        "inv logs -s airflow-init",
    )


def test_init_job_failed_with_a_known_cause_reports_that(engine, examine_one):
    set_service(engine, "airflow-init", exit_code=1)
    engine.log_text["airflow-init"] = 'FATAL:  password authentication failed for user "airflow"'
    assert (examine_one().code, examine_one().where) == ("database-password", "airflow-init")


def test_orphaned_services_are_reported_once(engine, examine_one):
    engine.ps_result = [Service(name, "orphaned") for name in ALL]
    assert (examine_one().code, examine_one().where) == ("left-behind", ", ".join(ALL))


@pytest.mark.parametrize(
    ("service", "fix"),
    [
        ("airflow-worker", "Lower WORKER_CONCURRENCY"),
        ("mlflow", "Raise SERVICE_MEMORY in .env"),
        ("redis", "Raise mem_limit of redis"),
    ],
)
@pytest.mark.parametrize("state", ["restarting", "running", "exited"])
def test_service_out_of_memory_suggests_the_setting(engine, examine_one, service, fix, state):
    set_service(
        engine, service, state=state, out_of_memory=True, restarts=4, since=datetime.now(UTC)
    )
    assert (examine_one().code, examine_one().where) == ("out-of-memory", service)
    assert examine_one().fix.startswith(fix)


def test_service_out_of_memory_an_hour_ago_is_ignored(engine, examine):
    set_service(engine, "mlflow", out_of_memory=True, restarts=1)
    assert examine() == []


@pytest.mark.parametrize("state", ["restarting", "running"])
def test_service_restarting_repeatedly_is_reported(engine, examine, state):
    set_service(engine, "mlflow", state=state, restarts=3, since=datetime.now(UTC))
    assert [(one.code, one.where) for one in examine()] == [("restarting-again", "mlflow")]


@pytest.mark.parametrize(
    "state",
    [
        {"restarts": 9},
        {"restarts": 9, "since": datetime.now(UTC) - SETTLED},
        {"restarts": 2, "state": "running", "since": datetime.now(UTC)},
    ],
)
def test_service_with_few_or_old_restarts_is_ignored(engine, examine, state):
    set_service(engine, "mlflow", **state)
    assert examine() == []


@pytest.mark.parametrize("state", ["down", "degraded"])
def test_worker_without_tasks_is_reported_once_started(engine, web, examine_one, state):
    web.serve_stack(services=ALL, **{"airflow-worker": state})
    assert (examine_one().code, examine_one().fix) == (
        "deaf-worker",
        "inv restart -s airflow-worker",
    )
    set_service(engine, "airflow-worker", since=datetime.now(UTC))
    assert examine_one().code == "service-not-well"


def test_worker_unknown_to_redis_is_only_unhealthy(web, examine_one):
    web.serve_stack(services=ALL, **{"airflow-worker": "unknown"})
    assert examine_one().code == "service-not-well"


def test_worker_rejected_by_redis_is_reported_from_its_log(engine, web, examine):
    web.serve_stack(services=ALL, **{"airflow-worker": "down"})
    engine.log_text["airflow-worker"] = "invalid username-password pair or user is disabled."
    assert "redis-password" in {one.code for one in examine()}


def test_dag_import_errors_are_reported(web, examine_one):
    detail = "1 import error: plain.py: ImportError: no x"
    work = [{"name": "dag-files", "state": "down", "detail": detail}]
    web.serve_stack(services=ALL, work=work)
    assert (examine_one().code, examine_one().fix) == ("dag-import-errors", "nox -s dag_lint")
    assert detail in examine_one().cause


def test_failed_pipeline_is_reported(web, examine_one):
    work = [
        {
            "name": "training",
            "state": "down",
            "detail": "failed after 9 s",
            "dag": "training_pipeline",
        }
    ]
    web.serve_stack(services=ALL, work=work)
    assert (examine_one().code, examine_one().fix) == (
        "run-failed", "inv trigger training_pipeline --wait",
    )  # fmt: skip


def test_dag_import_errors_do_not_hide_an_unhealthy_service(web, examine):
    work = [{"name": "dag-files", "state": "down", "detail": "1 import error: x"}]
    web.serve_stack(services=ALL, work=work, mlflow="down")
    assert {one.code for one in examine()} == {"dag-import-errors", "service-not-well"}


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("canary", "canary-waited"),
        ("stale-dags", "dags-stale"),
        ("silent-tasks", "task-silent"),
        ("waiting-tasks", "tasks-wait"),
        ("queues", "queue-unserved"),
        ("triggers", "triggers-wait"),
        ("patches", "patch-inactive"),
    ],
)
def test_degraded_work_is_reported_with_its_detail(web, examine_one, name, code):
    web.serve_stack(services=ALL, work=[{"name": name, "state": "degraded", "detail": "3 of it"}])
    assert (examine_one().code, "3 of it." in examine_one().cause) == (code, True)


@pytest.mark.parametrize("name", ["silent-tasks", "waiting-tasks", "queues", "stale-dags"])
def test_degraded_work_does_not_hide_an_unhealthy_service(web, examine, name):
    work = [{"name": name, "state": "degraded", "detail": "3"}]
    web.serve_stack(services=ALL, work=work, **{"airflow-scheduler": "down"})
    assert "service-not-well" in {one.code for one in examine()}


def test_disk_full_on_the_status_page_is_reported(web, examine_one):
    work = [{"name": "disk", "state": "degraded", "detail": "nearly full: 1.0 GiB free"}]
    web.serve_stack(services=ALL, work=work)
    assert examine_one().code == "disk-full"


@pytest.mark.parametrize(
    ("status", "code"), [(403, "host-header-refused"), (502, "page-unreachable")]
)
def test_mlflow_healthy_but_unreachable_is_reported(web, examine_one, status, code):
    web.answers["POST /api/2.0/mlflow/experiments/search"] = (status, {})
    assert (examine_one().code, examine_one().where) == (code, "mlflow")


@pytest.mark.parametrize(
    ("setting", "fix"),
    [
        ("MLFLOW_ADMIN_PASSWORD", "Set MLFLOW_ADMIN_PASSWORD in .env"),
        ("MLFLOW_WORKER_PASSWORD", "inv rebuild -s mlflow-migrate"),
        ("STATUS_PASSWORD", "inv rebuild -s mlflow-migrate"),
    ],
)
def test_mlflow_password_rejected_names_the_setting(web, examine_one, setting, fix):
    accepted = [(200, {"user": {}})]
    before = [*accounts.PASSWORDS.values()].index(setting)
    web.answers["GET /api/2.0/mlflow/users/current"] = [*accepted * before, (401, {}), *accepted]
    found = examine_one()
    assert (found.code, found.where) == ("mlflow-password", "mlflow")
    assert setting in found.cause
    assert found.fix.startswith(fix)


# Order


def test_stopped_database_comes_before_its_symptoms(engine, web, examine):
    # The order of `docker compose config`, which is alphabetical.
    engine.ps_result = sorted(engine.ps_result, key=lambda service: service.name)
    set_service(engine, "postgres", state="exited", exit_code=0)
    engine.log_text = {}
    now = datetime.now(UTC)
    set_service(engine, "airflow-scheduler", state="restarting", restarts=5, since=now)
    set_service(engine, "airflow-init", exit_code=1)
    states = {name: "down" for name in ALL if name not in ("status", "redis")}
    work = [
        {
            "name": "training",
            "state": "down",
            "detail": "failed after 9 s",
            "dag": "training_pipeline",
        }
    ]
    web.serve_stack(services=ALL, work=work, **states)
    assert [(one.code, one.where) for one in examine()] == [
        ("service-stopped", "postgres"),
        ("one-shot-failed", "airflow-init"),
        ("restarting-again", "airflow-scheduler"),
        ("deaf-worker", "airflow-worker"),
        ("run-failed", "training_pipeline"),
    ]


def test_unreadable_files_come_before_the_services_that_need_them(engine, examine):
    cause = Problem("folder-rights", "Containers cannot read it.", "chmod it", "machine")
    engine.host_facts = Host((cause,))
    set_service(engine, "redis", state="restarting", restarts=5, since=datetime.now(UTC))
    assert [one.code for one in examine()] == ["folder-rights", "restarting-again"]


def test_files_closed_by_a_pull_are_opened_by_the_next_start(installed, examine_one):
    (installed / "orchestration/config").mkdir()
    (installed / "orchestration/config").chmod(0o700)
    assert (examine_one().code, examine_one().fix) == ("folder-rights", "inv up")


# Settings


def test_jwt_secret_differs_names_the_service(engine, examine_one):
    variable = "AIRFLOW__API_AUTH__JWT_SECRET"
    names = ("airflow-scheduler", "airflow-worker", "airflow-apiserver")
    engine.intended_environments = {name: {variable: "one"} for name in names} | {"status": {}}
    engine.current_environments = {name: {variable: "one"} for name in names}
    engine.current_environments["airflow-worker"][variable] = "another"
    assert (examine_one().code, examine_one().where) == ("jwt-secret-differs", "airflow-worker")


def test_settings_of_stopped_services_are_not_compared(engine, examine):
    set_service(engine, "mlflow", state="exited")
    engine.current_environments = {"mlflow": {"A": "1"}}
    assert "settings-not-applied" not in {one.code for one in examine()}


# Logs


def test_log_of_healthy_mlflow_shows_rejected_hosts(engine, examine_one):
    engine.log_text["mlflow"] += f"\n{HOST}"
    assert (examine_one().code, examine_one().where) == ("host-header-refused", "mlflow")


@pytest.mark.parametrize(
    ("ago", "state", "codes"),
    [
        (timedelta(minutes=5), {}, ["host-header-refused"]),
        (timedelta(minutes=20), {}, []),
        # Printed before its own last start, which may have fixed it.
        (timedelta(minutes=5), {"since": timedelta(minutes=3)}, []),
    ],
)
def test_log_lines_count_if_recent_and_since_the_start(engine, examine, ago, state, codes):
    now = datetime.now(UTC)
    set_service(engine, "mlflow", **{name: now - before for name, before in state.items()})
    set_old_log(engine, "mlflow", HOST, ago=ago)
    assert [one.code for one in examine()] == codes


@pytest.mark.parametrize(("ago", "codes"), [(8, []), (2, ["token-refused"])])
def test_log_lines_of_airflow_count_since_its_newest_start(engine, examine, ago, codes):
    set_service(engine, "airflow-apiserver", since=datetime.now(UTC) - timedelta(minutes=5))
    text = "Invalid auth token: Signature verification failed"
    set_old_log(engine, "airflow-worker", text, ago=timedelta(minutes=ago))
    assert [one.code for one in examine()] == codes


def test_log_lines_of_an_exited_service_count_however_old(engine, examine):
    set_service(engine, "mlflow", state="exited", exit_code=1)
    set_old_log(
        engine, "mlflow", "Detected out-of-date database schema", ago=HOUR + timedelta(minutes=1)
    )
    assert [one.code for one in examine()] == ["mlflow-schema-old"]


def test_logs_of_services_that_never_ran_are_not_read(down, engine, examine):
    examine()
    assert engine.log_since == {}


def test_same_problem_of_several_services_is_reported_once(engine, web, examine):
    web.serve_stack(services=ALL, **{name: "down" for name in ALL})
    text = "OSError: [Errno 28] No space left on device"
    engine.log_text = dict.fromkeys(("airflow-scheduler", "airflow-worker"), text)
    found = [one for one in examine() if one.code == "disk-full"]
    assert [one.where for one in found] == ["airflow-scheduler, airflow-worker"]


def test_logs_are_read_in_parallel_with_a_line_limit(engine, examine):
    requested = []

    def tail(service, lines, since=None):
        requested.append(lines)
        time.sleep(0.1)
        return ""

    engine.tail = tail
    started = time.monotonic()
    examine()
    assert requested == [log_scan.LINES] * len(engine.ps_result)
    assert time.monotonic() - started < 0.1 * len(requested)


# Failing checks, and secrets


def test_failing_check_is_reported_with_the_other_problems(engine, examine):
    def host():
        raise RuntimeError("the engine went away")

    engine.host = host
    set_service(engine, "redis", state="exited")
    found = {one.code: one for one in examine()}
    assert found.keys() == {"could-not-look", "service-stopped"}
    assert "machine could not be checked" in found["could-not-look"].cause


@pytest.mark.parametrize("name", SECRETS)
def test_secret_in_a_quoted_message_is_masked(project, installed, engine, examine, name):
    value = project.settings()[name]
    engine.ps_fails = StackError(f"refused: {value} is odd")
    text = str(examine())
    assert "***" in text
    assert value not in text


# Problems below the error of `inv up`


@pytest.fixture
def further_codes(project, installed, engine):
    """Return the codes of the problems that are printed below an error."""

    def further_codes(*parts):
        found = diagnose.further_problems(project, StackError(*parts))
        return [one.code for one in found]

    return further_codes


def test_further_problems_are_found_in_the_error_message(further_codes):
    codes = further_codes('airflow-init failed:\npassword authentication failed for user "airflow"')
    assert codes == ["database-password"]


def test_further_problems_are_found_in_the_state(further_codes, engine):
    set_service(engine, "mlflow", state="restarting", out_of_memory=True)
    assert further_codes("The services are not healthy after 240 s.") == ["out-of-memory"]


def test_further_problems_exclude_those_of_the_error(
    further_codes, engine, down, foreign_port, monkeypatch
):
    engine.reasons = [problem("engine-unreachable")]
    assert further_codes(problem("engine-unreachable")) == []
    assert further_codes("something else") == ["engine-unreachable"]


def test_further_problems_exclude_symptoms_of_a_failed_start(
    further_codes, down, dead_port, monkeypatch
):
    for name in ("AIRFLOW_PORT", "MLFLOW_PORT", "STATUS_PORT"):
        monkeypatch.setenv(name, str(dead_port))
    assert further_codes("nothing came up") == []


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt, SystemExit])
def test_further_problems_after_an_error_are_none(further_codes, monkeypatch, error):
    def examine(*arguments):
        raise error

    monkeypatch.setattr(diagnose, "examine", examine)
    assert further_codes("not ready") == []


def test_further_problems_after_the_timeout_are_none(further_codes, monkeypatch):
    monkeypatch.setattr(diagnose, "VERDICT_SECONDS", 0.05)
    monkeypatch.setattr(diagnose, "examine", lambda *arguments: time.sleep(1))
    started = time.monotonic()
    assert further_codes("not ready") == []
    assert time.monotonic() - started < 0.9


def test_codes_are_kebab_case_with_one_command(engine, examine):
    set_service(engine, "mlflow", state="exited")
    [found] = examine()
    assert found.code == found.code.lower().replace("_", "-").replace(" ", "-")
    assert Path(found.fix).name
