"""Every failure that state and logs can tell, produced by stubs; and silence where all is well."""

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
from orchestration.engines.base import Service
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
    """A stack that runs and is well since an hour, in an installed clone on a good machine."""
    for name, port in web.stack_is_well(services=ALL).items():
        monkeypatch.setenv(name, str(port))
    text, _ = draft_env(project)
    (clone / ".env").write_text(text.replace("STACK_ENGINE=auto", "STACK_ENGINE=docker"))
    (clone / ".env").chmod(0o600)
    shutil.copy(repo / "orchestration/docker-compose.yaml", clone / "orchestration")
    for name in FOLDERS:
        (clone / name).mkdir()
    engine.listed = [Service(name, "running", since=NOW - HOUR) for name in ALL]
    engine.listed += [Service("airflow-init", "exited", since=NOW - HOUR)]
    engine.said = dict(HEALTHY)
    engine.stands_on = Host(places=(clone,))
    monkeypatch.setattr(state_checks, "disk_problems", lambda places, data_gib: [])
    monkeypatch.setattr(factory, "engine_for", lambda settings: engine)
    # The stub listens on all three.
    monkeypatch.setattr(state_checks, "port_problem", lambda settings, service: None)
    return clone


@pytest.fixture
def examine(project, installed, engine):
    """What the doctor finds."""
    return lambda said="": diagnose.examine(project, said)


@pytest.fixture
def report(project, installed, engine):
    """Print what the doctor finds; True: nothing."""
    return lambda as_json: doctor_command.run(project, as_json=as_json)


@pytest.fixture
def the_one(examine):
    """The one thing the doctor finds."""

    def the_one():
        [found] = examine()
        return found

    return the_one


def set_service(engine, name, **changes):
    engine.listed = [replace(s, **changes) if s.name == name else s for s in engine.listed]


def seen(engine, name, text, *, ago):
    """A log whose lines are as old as that, as an engine tells them."""

    def tail(service, lines, since=None):
        moment = datetime.now(UTC) - ago
        return text if service == name and (since is None or moment >= since) else ""

    engine.tail = tail


# All is well


def test_a_healthy_stack_is_one_good_line(report, capsys):
    assert report(as_json=False)
    assert capsys.readouterr().out == "No known problems. All services are healthy.\n"


def test_a_healthy_stack_is_well_for_machines_too(report, capsys):
    assert report(as_json=True)
    assert json.loads(capsys.readouterr().out) == {"status": "well", "findings": []}


def test_it_changes_nothing(installed, examine, engine):
    before = {path: path.stat().st_mtime_ns for path in installed.rglob("*")}
    examine()
    assert {path: path.stat().st_mtime_ns for path in installed.rglob("*")} == before
    assert engine.asked == []


def test_a_finding_is_two_lines_and_an_object(report, engine, capsys):
    set_service(engine, "redis", state="exited")
    assert not report(as_json=False)
    lines = "service-stopped (redis): redis is not running.\n  Run: inv up\n"
    assert capsys.readouterr().out == lines
    assert not report(as_json=True)
    finding = {"name": "service-stopped", "cause": "redis is not running.", "fix": "inv up",
               "where": "redis"}  # fmt: skip
    assert json.loads(capsys.readouterr().out) == {"status": "findings", "findings": [finding]}


# The file .env


def test_without_env_nothing_is_installed(installed, the_one):
    (installed / ".env").unlink()
    found = the_one()
    assert (found.code, found.fix) == ("not-installed", "inv install")
    assert not (installed / ".env").exists()


def test_data_that_outlived_its_env_is_told_with_both_ways_out(installed, engine, the_one):
    (installed / ".env").unlink()
    engine.volumes = ["x_postgres"]
    found = the_one()
    assert found.code == "env-lost"
    assert "x_postgres" in found.cause
    assert "inv down --volumes --yes" in found.fix


def test_a_rotation_that_was_interrupted_is_told_without_its_values(installed, examine):
    (installed / ".env.rotating").write_text("REDIS_PASSWORD=m4de-up\n")
    [found] = [each for each in examine() if each.code == "rotation-unfinished"]
    assert ("REDIS_PASSWORD" in found.cause, found.fix) == (True, "inv up")
    assert "m4de-up" not in str(found)


def test_an_env_that_cannot_be_read_alike_is_told_by_its_line(installed, the_one):
    with (installed / ".env").open("a") as file:
        file.write("SMTP_USER: me\n")
    found = the_one()
    assert found.code == "env-unusable"
    assert "line " in found.cause
    assert "SMTP_USER" not in found.fix


def test_an_env_that_others_may_read(installed, the_one):
    (installed / ".env").chmod(0o644)
    assert (the_one().code, the_one().fix) == ("env-readable", "chmod 600 .env")
    assert stat.S_IMODE((installed / ".env").stat().st_mode) == 0o644


def test_a_secret_that_can_be_guessed_is_told_without_it(installed, the_one, monkeypatch):
    monkeypatch.setenv("AIRFLOW_JWT_SECRET", "sesame")
    found = the_one()
    assert found.code == "weak-secret"
    assert "AIRFLOW_JWT_SECRET" in found.cause
    assert "sesame" not in str(found)


def test_before_the_engine_is_decided_the_one_that_works_is_asked(
    project, installed, engine, monkeypatch
):
    monkeypatch.setenv("STACK_ENGINE", "auto")
    engines = {"docker": type(engine)(), "standalone": engine}
    engines["docker"].reasons = [problem("engine-unreachable")]
    monkeypatch.setattr(factory, "engine_for", lambda settings: engines[settings.engine])
    assert diagnose.examine(project) == []


# Engine and machine


def problem(code):
    return Problem(code, f"It is {code}.", "Mend it.", "machine")


def test_an_engine_that_cannot_work_is_not_asked_further(engine, the_one):
    engine.reasons, engine.ps_fails = [problem("engine-unfit")], AssertionError("asked")
    assert the_one() == problem("engine-unfit")


def test_an_engine_that_refuses_the_compose_file_is_told(engine, examine):
    engine.ps_fails = StackError("docker compose config\nended with 15:\nyaml: line 3: mapping")
    found = {one.code: one for one in examine()}
    assert found["engine-refuses"].cause.endswith("yaml: line 3: mapping")


def test_the_problems_of_the_engines_machine_are_told(engine, the_one):
    engine.stands_on = Host((problem("folder-rights"),))
    assert the_one() == problem("folder-rights")


@pytest.mark.parametrize(("seconds", "told"), [(0, []), (29, []), (600, ["clock-skewed"])])
def test_a_clock_that_is_skewed(engine, examine, seconds, told):
    engine.stands_on = Host(ahead=seconds)
    assert [one.code for one in examine()] == told


def test_a_clock_that_is_past(the_one, monkeypatch):
    monkeypatch.setattr(clocks, "now", lambda: datetime(2020, 1, 1, tzinfo=UTC))
    assert (the_one().code, the_one().fix) == ("clock-skewed", clocks.SET_CLOCK)


@pytest.mark.parametrize(
    ("free", "built", "told"),
    [(50, True, []), (5, True, []), (1.9, True, ["disk-full"]), (5, False, ["disk-full"])],
)
def test_a_disk_that_is_nearly_full(engine, examine, monkeypatch, free, built, told):
    monkeypatch.setattr(state_checks, "disk_problems", resources.disk_problems)
    usage = type("Usage", (), {"free": int(free * 2**30)})
    monkeypatch.setattr(resources.shutil, "disk_usage", lambda place: usage)
    engine.built = built
    assert [one.code for one in examine()] == told


@pytest.mark.parametrize(
    ("index", "ahead", "told"),
    [("", None, []), ("pypi.org", 0.0, []), ("pypi.org", None, ["index-unreachable"])],
)
def test_an_index_counts_only_where_something_is_to_be_built(engine, examine, index, ahead, told):
    engine.stands_on = Host(index=index, index_ahead=ahead)
    assert [one.code for one in examine()] == told


# Ports


@pytest.fixture
def stranger(installed, monkeypatch):
    """Another program's port, and ports are really tried."""
    monkeypatch.setattr(state_checks, "port_problem", ports.port_problem)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield listening.getsockname()[1]


@pytest.fixture
def down(installed, engine, web):
    """Nothing of the stack runs."""
    engine.listed = [Service(name, "absent") for name in (*ALL, "airflow-init")]
    engine.said = {}
    web.answers.clear()


def test_a_stack_that_is_down_and_could_start_is_told_so(down, dead_port, the_one, monkeypatch):
    for name in ("AIRFLOW_PORT", "MLFLOW_PORT", "STATUS_PORT"):
        monkeypatch.setenv(name, str(dead_port))
    assert (the_one().code, the_one().fix) == ("stack-down", "inv up")


def test_a_port_that_another_program_took(down, dead_port, stranger, examine, monkeypatch):
    for name in ("AIRFLOW_PORT", "STATUS_PORT"):
        monkeypatch.setenv(name, str(dead_port))
    monkeypatch.setenv("MLFLOW_PORT", str(stranger))
    taken, nothing = examine()
    assert (taken.code, taken.where) == ("port-taken", "mlflow")
    assert f"Port {stranger} on 127.0.0.1 is already in use" in taken.cause
    assert taken.fix == "Stop that program, or set MLFLOW_PORT in .env, then run: inv up"
    assert nothing.code == "stack-down"


def test_of_a_half_up_stack_only_the_ports_of_what_does_not_run_are_tried(
    engine, stranger, the_one
):
    # The stub stands for a stranger there, and for the other two services.
    set_service(engine, "mlflow", state="created")
    assert (the_one().code, the_one().where) == ("port-taken", "mlflow")


# Services


def test_a_service_that_was_stopped_is_the_cause_of_those_that_need_it(engine, web, the_one):
    set_service(engine, "redis", state="exited", exit_code=0)
    web.stack_is_well(services=ALL, **{"airflow-worker": "unknown", "redis": "down"})
    assert (the_one().code, the_one().where) == ("service-stopped", "redis")


def test_a_paused_service_is_not_mended_by_up(engine, the_one):
    set_service(engine, "redis", state="paused")
    assert (the_one().code, the_one().where) == ("service-paused", "redis")
    assert "unpause" in the_one().fix


def test_one_that_is_not_well_and_nobody_knows_why_is_told_by_its_log(engine, web, the_one):
    web.stack_is_well(services=ALL, mlflow="down")
    assert (the_one().code, the_one().fix) == ("service-not-well", "inv logs -s mlflow")


def test_a_one_shot_that_failed_is_told_by_its_log(engine, the_one):
    set_service(engine, "airflow-init", exit_code=1)
    assert (the_one().code, the_one().fix) == ("one-shot-failed", "inv logs -s airflow-init")


def test_a_one_shot_that_failed_of_a_known_cause_is_told_by_it(engine, the_one):
    set_service(engine, "airflow-init", exit_code=1)
    engine.said["airflow-init"] = 'FATAL:  password authentication failed for user "airflow"'
    assert (the_one().code, the_one().where) == ("database-password", "airflow-init")


def test_services_that_a_killed_supervisord_left_are_told_once(engine, the_one):
    engine.listed = [Service(name, "orphaned") for name in ALL]
    assert (the_one().code, the_one().where) == ("left-behind", ", ".join(ALL))


@pytest.mark.parametrize(
    ("service", "words"),
    [
        ("airflow-worker", "Lower WORKER_CONCURRENCY"),
        ("mlflow", "Raise SERVICE_MEMORY in .env"),
        ("redis", "Raise mem_limit of redis"),
    ],
)
@pytest.mark.parametrize("state", ["restarting", "running", "exited"])
def test_a_service_that_was_killed_for_its_memory(engine, the_one, service, words, state):
    set_service(
        engine, service, state=state, out_of_memory=True, restarts=4, since=datetime.now(UTC)
    )
    assert (the_one().code, the_one().where) == ("out-of-memory", service)
    assert the_one().fix.startswith(words)


def test_that_it_was_killed_once_and_is_well_since_an_hour_is_history(engine, examine):
    set_service(engine, "mlflow", out_of_memory=True, restarts=1)
    assert examine() == []


def test_a_service_that_restarts_again_and_again(engine, examine):
    set_service(engine, "mlflow", state="restarting", restarts=3, since=datetime.now(UTC))
    assert [(one.code, one.where) for one in examine()] == [("restarting-again", "mlflow")]


@pytest.mark.parametrize(
    "state",
    [
        {"restarts": 9},
        {"restarts": 9, "since": datetime.now(UTC)},
        {"restarts": 2, "state": "running", "since": datetime.now(UTC)},
    ],
)
def test_restarts_that_are_over_are_none(engine, examine, state):
    set_service(engine, "mlflow", **state)
    assert examine() == []


@pytest.mark.parametrize("state", ["down", "degraded"])
def test_a_worker_that_takes_no_tasks(engine, web, the_one, state):
    web.stack_is_well(services=ALL, **{"airflow-worker": state})
    assert (the_one().code, the_one().fix) == ("deaf-worker", "inv restart -s airflow-worker")
    set_service(engine, "airflow-worker", since=datetime.now(UTC))
    assert the_one().code == "service-not-well"


def test_a_worker_that_redis_cannot_tell_about_is_not_called_deaf(web, the_one):
    web.stack_is_well(services=ALL, **{"airflow-worker": "unknown"})
    assert the_one().code == "service-not-well"


def test_a_worker_that_redis_does_not_let_in_is_told_by_its_log(engine, web, examine):
    web.stack_is_well(services=ALL, **{"airflow-worker": "down"})
    engine.said["airflow-worker"] = "invalid username-password pair or user is disabled."
    assert "redis-password" in {one.code for one in examine()}


def test_dag_files_that_do_not_import(web, the_one):
    detail = "1 does not import: plain.py: ImportError: no x"
    work = [{"name": "dag-files", "state": "down", "detail": detail}]
    web.stack_is_well(services=ALL, work=work)
    assert (the_one().code, the_one().fix) == ("dag-import-errors", "nox -s dag_lint")
    assert detail in the_one().cause


def test_dag_files_that_do_not_import_do_not_explain_a_service_that_is_not_well(web, examine):
    work = [{"name": "dag-files", "state": "down", "detail": "1 does not import: x"}]
    web.stack_is_well(services=ALL, work=work, mlflow="down")
    assert {one.code for one in examine()} == {"dag-import-errors", "service-not-well"}


def test_patches_that_are_not_active(web, the_one):
    detail = "1 not active: wake-scheduler: it is for another version"
    web.stack_is_well(
        services=ALL, work=[{"name": "patches", "state": "degraded", "detail": detail}]
    )
    assert the_one().code == "patch-inactive"
    assert detail in the_one().cause


def test_a_disk_that_the_status_page_calls_full(web, the_one):
    work = [{"name": "disk", "state": "degraded", "detail": "nearly full: 1.0 GiB free"}]
    web.stack_is_well(services=ALL, work=work)
    assert the_one().code == "disk-full"


@pytest.mark.parametrize(
    ("code", "name"), [(403, "host-header-refused"), (502, "page-unreachable")]
)
def test_mlflow_that_is_well_and_refuses_this_machine(web, the_one, code, name):
    web.answers["POST /api/2.0/mlflow/experiments/search"] = (code, {})
    assert (the_one().code, the_one().where) == (name, "mlflow")


@pytest.mark.parametrize(
    ("refused", "fix"),
    [
        ("MLFLOW_ADMIN_PASSWORD", "Set MLFLOW_ADMIN_PASSWORD in .env"),
        ("MLFLOW_WORKER_PASSWORD", "inv rebuild -s mlflow-migrate"),
        ("STATUS_PASSWORD", "inv rebuild -s mlflow-migrate"),
    ],
)
def test_an_account_that_mlflow_refuses_is_told_by_its_setting(web, the_one, refused, fix):
    well = [(200, {"user": {}})]
    before = [*accounts.PASSWORDS.values()].index(refused)
    web.answers["GET /api/2.0/mlflow/users/current"] = [*well * before, (401, {}), *well]
    found = the_one()
    assert (found.code, found.where) == ("mlflow-password", "mlflow")
    assert refused in found.cause
    assert found.fix.startswith(fix)


# Settings


def test_keys_that_differ_between_services_are_told(engine, the_one):
    variable = "AIRFLOW__API_AUTH__JWT_SECRET"
    names = ("airflow-scheduler", "airflow-worker", "airflow-apiserver")
    engine.meant_for = {name: {variable: "one"} for name in names} | {"status": {}}
    engine.held_by = {name: {variable: "one"} for name in names}
    engine.held_by["airflow-worker"][variable] = "another"
    assert (the_one().code, the_one().where) == ("jwt-secret-differs", "airflow-worker")


def test_only_what_runs_is_compared(engine, examine):
    set_service(engine, "mlflow", state="exited")
    engine.held_by = {"mlflow": {"A": "1"}}
    assert "settings-not-applied" not in {one.code for one in examine()}


# Logs


def test_who_was_refused_by_a_mlflow_that_is_well_is_told(engine, the_one):
    engine.said["mlflow"] += f"\n{HOST}"
    assert (the_one().code, the_one().where) == ("host-header-refused", "mlflow")


@pytest.mark.parametrize(
    ("ago", "state", "told"),
    [
        (timedelta(minutes=5), {}, ["host-header-refused"]),
        (timedelta(minutes=20), {}, []),
        # Said before its own last start, which may have mended it.
        (timedelta(minutes=5), {"since": timedelta(minutes=3)}, []),
    ],
)
def test_only_lines_since_the_last_start_and_of_late_count(engine, examine, ago, state, told):
    now = datetime.now(UTC)
    set_service(engine, "mlflow", **{name: now - before for name, before in state.items()})
    seen(engine, "mlflow", HOST, ago=ago)
    assert [one.code for one in examine()] == told


@pytest.mark.parametrize(("ago", "told"), [(8, []), (2, ["token-refused"])])
def test_what_airflow_refused_before_any_of_its_services_was_started_anew_is_over(
    engine, examine, ago, told
):
    set_service(engine, "airflow-apiserver", since=datetime.now(UTC) - timedelta(minutes=5))
    text = "Invalid auth token: Signature verification failed"
    seen(engine, "airflow-worker", text, ago=timedelta(minutes=ago))
    assert [one.code for one in examine()] == told


def test_of_one_that_ended_its_last_words_count_however_old(engine, examine):
    set_service(engine, "mlflow", state="exited", exit_code=1)
    seen(engine, "mlflow", "Detected out-of-date database schema", ago=HOUR + timedelta(minutes=1))
    assert [one.code for one in examine()] == ["mlflow-schema-old"]


def test_services_that_never_ran_have_no_log(down, engine, examine):
    examine()
    assert engine.heard_since == {}


def test_the_same_of_several_services_is_told_once(engine, web, examine):
    web.stack_is_well(services=ALL, **{name: "down" for name in ALL})
    text = "OSError: [Errno 28] No space left on device"
    engine.said = dict.fromkeys(("airflow-scheduler", "airflow-worker"), text)
    found = [one for one in examine() if one.code == "disk-full"]
    assert [one.where for one in found] == ["airflow-scheduler, airflow-worker"]


def test_lines_are_asked_for_side_by_side_and_not_too_many(engine, examine):
    asked = []

    def tail(service, lines, since=None):
        asked.append(lines)
        time.sleep(0.1)
        return ""

    engine.tail = tail
    started = time.monotonic()
    examine()
    assert asked == [log_scan.LINES] * len(engine.listed)
    assert time.monotonic() - started < 0.1 * len(asked)


# What goes wrong while looking, and secrets


def test_a_check_that_could_not_look_is_told_and_the_others_still_are(engine, examine):
    def host():
        raise RuntimeError("the engine went away")

    engine.host = host
    set_service(engine, "redis", state="exited")
    found = {one.code: one for one in examine()}
    assert found.keys() == {"could-not-look", "service-stopped"}
    assert "machine could not be checked" in found["could-not-look"].cause


@pytest.mark.parametrize("name", SECRETS)
def test_whatever_is_quoted_holds_no_secret(project, installed, engine, examine, name):
    value = project.settings()[name]
    engine.ps_fails = StackError(f"refused: {value} is odd")
    told = str(examine())
    assert "***" in told
    assert value not in told


# Below the error of `inv up`


@pytest.fixture
def verdict(project, installed, engine):
    """The codes of what is told below an error."""

    def verdict(*parts):
        found = diagnose.further_problems(project, StackError(*parts))
        return [one.code for one in found]

    return verdict


def test_a_failed_up_is_explained_by_its_own_words(verdict):
    told = verdict('airflow-init failed:\npassword authentication failed for user "airflow"')
    assert told == ["database-password"]


def test_a_failed_up_is_explained_by_the_state(verdict, engine):
    set_service(engine, "mlflow", state="restarting", out_of_memory=True)
    assert verdict("not ready after 240 s") == ["out-of-memory"]


def test_what_the_error_says_itself_is_not_repeated(verdict, engine, down, stranger, monkeypatch):
    engine.reasons = [problem("engine-unreachable")]
    assert verdict(problem("engine-unreachable")) == []
    assert verdict("something else") == ["engine-unreachable"]


def test_symptoms_of_any_failed_start_are_not_told(verdict, down, dead_port, monkeypatch):
    for name in ("AIRFLOW_PORT", "MLFLOW_PORT", "STATUS_PORT"):
        monkeypatch.setenv(name, str(dead_port))
    assert verdict("nothing came up") == []


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt, SystemExit])
def test_a_verdict_that_fails_is_no_verdict(verdict, monkeypatch, error):
    def examine(*arguments):
        raise error

    monkeypatch.setattr(diagnose, "examine", examine)
    assert verdict("not ready") == []


def test_a_verdict_that_takes_too_long_is_not_waited_for(verdict, monkeypatch):
    monkeypatch.setattr(diagnose, "VERDICT_SECONDS", 0.05)
    monkeypatch.setattr(diagnose, "examine", lambda *arguments: time.sleep(1))
    started = time.monotonic()
    assert verdict("not ready") == []
    assert time.monotonic() - started < 0.9


def test_the_names_are_kebab_case_and_told_with_one_command(engine, examine):
    set_service(engine, "mlflow", state="exited")
    [found] = examine()
    assert found.code == found.code.lower().replace("_", "-").replace(" ", "-")
    assert Path(found.fix).name
