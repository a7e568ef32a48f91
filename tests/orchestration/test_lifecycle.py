"""Test install, up, down, restart and rebuild with a fake engine and stub pages."""

import re
import stat
import threading
import time
from datetime import UTC, datetime, timedelta

import pytest

from orchestration import lifecycle, preflight
from orchestration.commands import down, rebuild, restart, up
from orchestration.doctor import diagnose
from orchestration.engines import factory
from orchestration.engines.base import Service
from orchestration.errors import Problem, StackError
from orchestration.health import canary, readiness
from orchestration.process import background, runner
from orchestration.project import Project
from orchestration.settings.model import SECRETS

INSTALLED = ["build", "activate", "prune"]


@pytest.fixture(autouse=True)
def machine(clone, engine, web, monkeypatch):
    """A machine without problems, on which every service is healthy at once."""
    for name, port in web.serve_stack().items():
        monkeypatch.setenv(name, str(port))
    monkeypatch.setattr(factory, "engine_for", lambda settings: engine)
    monkeypatch.setattr(background, "POLL_SECONDS", 0)
    monkeypatch.setattr(readiness, "READY_SECONDS", 5)
    monkeypatch.setattr(preflight, "resource_problems", lambda root: [])
    monkeypatch.setattr(preflight, "least_memory", lambda host: (16.0, "This machine", ""))
    monkeypatch.setattr(preflight, "least_cpus", lambda host: 4)
    # The stub already listens on all three ports before the fake engine starts anything.
    monkeypatch.setattr(preflight, "port_problem", lambda settings, service: None)


def problem(cause):
    return Problem("unfit", cause, "Fix it.", "machine")


def files_of(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


# install


def test_install_writes_env_creates_folders_and_builds(project, clone, engine, capsys):
    lifecycle.install(project)
    settings = Project(clone, {}).settings()
    assert settings.engine == "docker"
    assert all(settings[name] for name in SECRETS)
    assert stat.S_IMODE((clone / ".env").stat().st_mode) == 0o600
    assert engine.calls == INSTALLED
    for name in ("logs", "plugins", "dags", "include"):
        # Some file systems do not keep the setgid bit.
        assert stat.S_IMODE((clone / name).stat().st_mode) & 0o777 == 0o775
    assert capsys.readouterr().out == (
        "Created .env from .env.example.\n"
        "Wrote to .env from this shell: AIRFLOW_PORT, MLFLOW_PORT, STATUS_PORT.\n"
    )


def test_install_again_changes_and_prints_nothing(project, clone, engine, capsys):
    lifecycle.install(project)
    before = (clone / ".env").read_bytes()
    capsys.readouterr()
    lifecycle.install(project)
    assert (clone / ".env").read_bytes() == before
    assert capsys.readouterr().out == ""
    assert engine.calls == [*INSTALLED, *INSTALLED]


def test_install_reports_all_problems_and_changes_nothing(project, clone, engine, monkeypatch):
    monkeypatch.setattr(preflight, "resource_problems", lambda root: [problem("no memory")])
    monkeypatch.setattr(preflight, "port_problem", lambda settings, name: problem(f"no {name}"))
    engine.ps_result, engine.volumes = [Service("postgres", "absent")], ["x_postgres"]
    before = files_of(clone)
    with pytest.raises(StackError) as refused:
        lifecycle.install(project)
    assert "Nothing was changed." in str(refused.value).splitlines()[0]
    causes = [one.cause for one in refused.value.problems]
    assert causes[:4] == ["no memory", "no airflow-apiserver", "no mlflow", "no status"]
    assert "must differ" in causes[4]
    assert "x_postgres" in causes[5]
    assert len(causes) == 6
    assert files_of(clone) == before
    assert engine.calls == []


def test_install_prints_advice(project, clone, monkeypatch, capsys):
    monkeypatch.setattr(preflight, "least_memory", lambda host: (5.0, "It", "Add memory."))
    lifecycle.install(project)
    assert (
        "Advice: It has 5.0 GiB of memory. 8 GiB are recommended. Add memory.\n"
        in capsys.readouterr().out
    )


def test_resolve_engine_prefers_docker(make_settings, capsys):
    assert lifecycle.resolve_engine(make_settings(STACK_ENGINE="auto")).engine == "docker"
    assert capsys.readouterr().out == ""


def test_resolve_engine_falls_back_to_standalone_and_prints_why(make_settings, engine, capsys):
    engine.reasons = [problem("No Docker engine answers."), problem("No Compose.")]
    assert lifecycle.resolve_engine(make_settings(STACK_ENGINE="auto")).engine == "standalone"
    assert capsys.readouterr().out.splitlines() == [
        "STACK_ENGINE=standalone is used instead of docker. No Docker engine answers.",
        "To use Docker: Fix it.",
    ]


def test_resolve_engine_keeps_standalone_if_its_data_exists(
    make_settings, engine, monkeypatch, capsys
):
    engines = {"docker": engine, "standalone": type(engine)()}
    monkeypatch.setattr(factory, "engine_for", lambda settings: engines[settings.engine])
    assert lifecycle.resolve_engine(make_settings(STACK_ENGINE="auto")).engine == "docker"
    engines["docker"].volumes = ["x_postgres"]
    assert lifecycle.resolve_engine(make_settings(STACK_ENGINE="auto")).engine == "docker"
    engines["standalone"].volumes = [".standalone/postgres"]
    assert lifecycle.resolve_engine(make_settings(STACK_ENGINE="auto")).engine == "standalone"
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("name", ["docker", "standalone"])
def test_resolve_engine_keeps_engine_in_env(make_settings, engine, name):
    engine.reasons = [problem("no engine")]
    assert lifecycle.resolve_engine(make_settings(STACK_ENGINE=name)).engine == name


def test_install_unusable_engine_changes_nothing(project, clone, engine, monkeypatch):
    monkeypatch.setenv("STACK_ENGINE", "docker")
    monkeypatch.setattr(preflight, "resource_problems", lambda root: [problem("no disk")])
    engine.reasons = [problem("no engine")]
    before = files_of(clone)
    with pytest.raises(StackError) as refused:
        lifecycle.install(project)
    assert [one.cause for one in refused.value.problems] == ["no engine", "no disk"]
    assert files_of(clone) == before
    assert engine.calls == []


def test_install_rejects_data_without_keys(project, clone, engine):
    engine.volumes = ["x_postgres"]
    with pytest.raises(StackError, match=r"\.env with its keys is gone"):
        lifecycle.install(project)
    assert not (clone / ".env").exists()


def test_install_rejects_data_without_keys_in_copied_example(project, clone, engine):
    engine.volumes = ["x_postgres"]
    (clone / ".env").write_text((clone / ".env.example").read_text())
    with pytest.raises(StackError, match="x_postgres"):
        lifecycle.install(project)


def test_install_keeps_data_with_keys(project, clone, engine):
    lifecycle.install(project)
    engine.volumes = ["x_postgres"]
    lifecycle.install(project)
    assert engine.calls == [*INSTALLED, *INSTALLED]


def test_make_folders_keeps_existing_folders(make_settings, clone):
    (clone / "logs").mkdir(mode=0o700)
    lifecycle.make_folders(make_settings())
    assert stat.S_IMODE((clone / "logs").stat().st_mode) == 0o700
    assert stat.S_IMODE((clone / "plugins").stat().st_mode) & 0o777 == 0o775


# up


def test_up_installs_starts_and_prints_addresses(project, clone, engine, web, capsys):
    up.run(project, with_canary=False)
    assert engine.calls == [*INSTALLED, "up"]
    output = capsys.readouterr().out
    assert "✓ redis" in output
    assert "✓ mlflow from here" in output
    assert re.search(r"Started in \d s\.", output)
    assert output.count(web.url) == 6
    assert "password in .env" in output


def test_up_of_installed_stack_only_starts(project, clone, engine):
    lifecycle.install(project)
    engine.calls.clear()
    up.run(project, with_canary=False)
    assert engine.calls == ["up"]


def test_up_builds_missing_images(project, clone, engine):
    lifecycle.install(project)
    engine.calls.clear()
    engine.built = False
    up.run(project, with_canary=False)
    assert engine.calls == [*INSTALLED, "up"]


def test_up_runs_canary_unless_disabled(project, clone, engine, monkeypatch, capsys):
    addresses = []
    monkeypatch.setattr(canary, "run", lambda airflow: addresses.append(airflow.address))
    up.run(project)
    assert len(addresses) == 1
    assert "Started and verified in" in capsys.readouterr().out
    up.run(project, with_canary=False)
    assert len(addresses) == 1


def test_up_unusable_engine_is_an_error(project, clone, engine):
    lifecycle.install(project)
    engine.calls.clear()
    engine.reasons = [problem("no engine"), problem("no compose")]
    with pytest.raises(StackError, match=r"no engine\nFix it\.\n\nno compose\nFix it\."):
        up.run(project, with_canary=False)
    assert engine.calls == []


def test_up_rejects_taken_port(project, clone, engine, monkeypatch):
    lifecycle.install(project)
    engine.calls.clear()
    engine.ps_result = [Service("postgres", "exited")]
    monkeypatch.setattr(preflight, "port_problem", lambda settings, name: problem("is taken"))
    with pytest.raises(StackError, match="is taken"):
        up.run(project, with_canary=False)
    assert engine.calls == []


def test_up_waits_until_services_are_healthy(project, clone, engine, web, capsys):
    web.answers["GET /api/v2/version"] = [(503, {}), (503, {}), (200, {})]
    up.run(project, with_canary=False)
    assert len(web.requests_for("GET /api/v2/version")) == 3
    lines = [line for line in capsys.readouterr().out.splitlines() if "apiserver from here" in line]
    assert ["… " in lines[0], "✓ " in lines[1], len(lines)] == [True, True, 2]


def test_up_reports_last_lines_of_failed_init_job(project, clone, engine, capsys):
    engine.ps_result += [
        Service("airflow-init", "exited", exit_code=1),
        Service("mlflow-migrate", "exited"),
    ]
    engine.log_text = {"airflow-init": "waiting\nFATAL: no schema", "mlflow-migrate": "done"}
    engine.start_fails = StackError("airflow-init didn't complete successfully")
    with pytest.raises(StackError) as failed:
        up.run(project, with_canary=False)
    assert str(failed.value).splitlines() == [
        "Last lines of airflow-init:",
        "  waiting",
        "  FATAL: no schema",
        "airflow-init didn't complete successfully",
    ]


def test_up_timeout_reports_reason_and_next_command(
    project, clone, engine, web, monkeypatch, capsys
):
    monkeypatch.setattr(readiness, "READY_SECONDS", 0)
    web.serve_stack(redis="down")
    engine.log_text = {"redis": "Out of memory"}
    with pytest.raises(StackError) as late:
        up.run(project, with_canary=False)
    assert str(late.value).splitlines() == [
        "The services are not healthy after 0 s.",
        "redis: detail of redis",
        "Last lines of redis:",
        "  Out of memory",
        "Run: inv logs -s redis",
    ]


@pytest.fixture
def recovering_database(web, monkeypatch):
    """Start a stack whose database recovers for twice as long as the limit for a start."""
    monkeypatch.setattr(readiness, "READY_SECONDS", 0.3)
    healthy = web.answers["GET /status.json"]
    web.serve_stack(postgres="degraded")
    _, document = web.answers["GET /status.json"]

    def answer_slowly(handler):
        time.sleep(0.06)
        handler.reply(503, document)

    web.answers["GET /status.json"] = [answer_slowly] * 10 + [healthy]


def test_up_waits_longer_while_the_database_recovers(project, clone, recovering_database, capsys):
    up.run(project, with_canary=False)
    assert "detail of postgres" in capsys.readouterr().out


def test_up_limits_the_time_of_recovery(project, clone, recovering_database, monkeypatch):
    monkeypatch.setattr(readiness, "RECOVERY_SECONDS", 0)
    with pytest.raises(StackError, match=r"not healthy after 0 s\.\npostgres: detail of postgres"):
        up.run(project, with_canary=False)


def test_up_failure_includes_findings_of_the_doctor(project, clone, engine):
    engine.ps_result += [Service("airflow-init", "exited", exit_code=1)]
    engine.log_text = {"airflow-init": 'FATAL: password authentication failed for user "airflow"'}
    engine.start_fails = StackError("airflow-init didn't complete successfully")
    with pytest.raises(StackError) as failed:
        up.run(project, with_canary=False)
    *error, cause, fix = str(failed.value).splitlines()
    assert error[-1] == "airflow-init didn't complete successfully"
    assert cause.startswith("PostgreSQL rejects the password of airflow")
    assert fix == "Put the previous AIRFLOW_DB_PASSWORD back in .env, then run: inv up"


def test_up_failure_is_unchanged_without_findings(project, clone, engine, monkeypatch):
    engine.start_fails = StackError("it did not start")

    def examine(*arguments):
        raise RuntimeError("a bug of the doctor")

    for _ in range(2):
        with pytest.raises(StackError) as failed:
            up.run(project, with_canary=False)
        assert str(failed.value) == "it did not start"
        monkeypatch.setattr(diagnose, "examine", examine)


def test_up_hanging_start_times_out(project, clone, engine, monkeypatch, capsys):
    monkeypatch.setattr(readiness, "READY_SECONDS", 0)
    engine.start_waits = threading.Event()
    with pytest.raises(StackError, match="not healthy after 0 s"):
        up.run(project, with_canary=False)
    assert not engine.start_finished


# down


@pytest.mark.parametrize("yes", [True, False])
def test_down_keeps_data(project, clone, engine, yes):
    down.run(project, volumes=False, yes=yes)
    assert engine.calls == ["down volumes=False"]


def test_down_volumes_requires_yes(project, clone, engine):
    with pytest.raises(StackError, match=r"inv down --volumes --yes$"):
        down.run(project, volumes=True, yes=False)
    assert engine.calls == []


def test_down_volumes_deletes_data_without_env(project, clone, engine):
    down.run(project, volumes=True, yes=True)
    assert engine.calls == ["down volumes=True"]
    assert not (clone / ".env").exists()


def test_down_without_env_drafts_settings_from_the_clone(project, clone, engine):
    (clone / ".env.example").write_text("no setting\n")
    with pytest.raises(StackError, match=r"\.env\.example"):
        down.run(project, volumes=False, yes=False)
    assert engine.calls == []


# A stack in use


@pytest.fixture
def canaries(monkeypatch):
    """Return the addresses for which the canary was run; each run succeeds."""
    addresses = []
    monkeypatch.setattr(canary, "run", lambda airflow: addresses.append(airflow.address))
    return addresses


@pytest.fixture
def in_use(project, clone, engine, canaries, capsys):
    """An installed and running stack whose init jobs have succeeded."""
    lifecycle.install(project)
    engine.ps_result += [Service("airflow-init", "exited"), Service("mlflow-migrate", "exited")]
    engine.calls.clear()
    capsys.readouterr()
    return engine


COMMANDS = {
    "restart": lambda project: restart.run(project, None),
    "rebuild": lambda project: rebuild.run(project, "status"),
}


@pytest.mark.parametrize("command", COMMANDS)
def test_command_without_install_suggests_install(project, clone, engine, command):
    with pytest.raises(StackError, match=r"There is no \.env yet"):
        COMMANDS[command](project)
    assert engine.calls == []


@pytest.mark.parametrize("command", COMMANDS)
def test_command_reports_all_engine_problems(project, in_use, command):
    in_use.reasons = ["no engine", "no compose"]
    with pytest.raises(StackError, match=r"^no engine\nno compose$"):
        COMMANDS[command](project)
    assert in_use.calls == []


# restart


def test_restart_of_all_skips_init_jobs_and_runs_canary(project, in_use, canaries, capsys):
    restart.run(project, None)
    names = "postgres redis airflow-scheduler airflow-worker mlflow status"
    assert in_use.calls == [f"restart {names}"]
    assert len(canaries) == 1
    assert "Restarted and verified in 0 s." in capsys.readouterr().out


def test_restart_of_one_service(project, in_use, canaries):
    restart.run(project, "redis")
    assert in_use.calls == ["restart redis"]
    assert len(canaries) == 1


@pytest.mark.parametrize(
    ("service", "why"),
    [("radis", "radis is not a service"), ("airflow-init", "airflow-init runs once")],
)
def test_restart_of_unknown_service_or_init_job_is_rejected(
    project, in_use, canaries, service, why
):
    with pytest.raises(StackError, match=why) as refused:
        restart.run(project, service)
    assert "mlflow-migrate" not in str(refused.value)
    assert (in_use.calls, canaries) == ([], [])


@pytest.mark.parametrize("state", ["exited", "absent"])
def test_restart_of_stopped_stack_is_rejected(project, in_use, state):
    in_use.ps_result = [Service("redis", state), Service("airflow-init", "exited")]
    with pytest.raises(StackError, match="The stack is not running"):
        restart.run(project, "redis")
    assert in_use.calls == []


def test_restart_ignores_older_status(project, in_use, web, canaries):
    started = datetime.now(UTC)
    in_use.ps_result[1] = Service("redis", "running", since=started)
    current = (200, web.answers["GET /status.json"][1])
    old = {"name": "redis", "state": "up", "detail": "", "last_seen": str(started - timedelta(1))}
    rest = [verdict for verdict in current[1]["services"] if verdict["name"] != "redis"]
    web.answers["GET /status.json"] = [*[(200, {"services": [*rest, old]})] * 2, current]
    restart.run(project, "redis")
    assert len(web.requests_for("GET /status.json")) == 3


def test_failed_restart_is_reported_without_canary(project, in_use, canaries):
    in_use.restart_fails = StackError("redis does not stop")
    with pytest.raises(StackError, match="redis does not stop"):
        restart.run(project, "redis")
    assert canaries == []


# rebuild


OLD, NEW = b"humanize==4.0.0\n", "humanize==4.9.0\n"


@pytest.fixture
def lock(clone, recorded, monkeypatch):
    """Create a lock file whose requirements have changed, and let uv write a new one."""
    (clone / "install").mkdir()
    (clone / "install" / "requirements.txt").write_text("# mine\nhumanize>=4.9\n")
    path = clone / "install" / "requirements.lock"
    path.write_bytes(OLD)
    record = recorded.run

    def run(command, **options):
        if "compile" in command.argv:
            path.write_text(NEW)
        return record(command, **options)

    monkeypatch.setattr(runner, "run", run)
    return path


def test_rebuild_locks_builds_checks_activates_then_replaces(
    project, in_use, lock, canaries, capsys
):
    rebuild.run(project, None)
    assert in_use.calls == [
        "build",
        "package_errors humanize",
        "import_errors",
        "activate",
        "replace airflow-init",
        "replace mlflow-migrate",
        "replace airflow-scheduler",
        "replace airflow-worker",
        "replace mlflow",
        "replace status",
        "prune",
    ]
    assert lock.read_text() == NEW
    assert len(canaries) == 1
    output = capsys.readouterr().out
    assert "✓ mlflow                 replaced" in output
    assert "Rebuilt and verified in 0 s." in output


def test_rebuild_of_other_image_keeps_lock(project, in_use, lock, recorded):
    rebuild.run(project, "status")
    assert in_use.calls == ["build status", "activate status", "replace status", "prune"]
    assert (lock.read_bytes(), recorded.commands) == (OLD, [])


def test_rebuild_of_one_service_replaces_only_it(project, in_use, lock):
    rebuild.run(project, "airflow-worker")
    built = ["build airflow", "package_errors humanize", "import_errors", "activate airflow"]
    assert in_use.calls == [*built, "replace airflow-worker", "prune"]
    assert lock.read_text() == NEW


@pytest.mark.parametrize(
    ("service", "why"),
    [("postgres", "postgres is not built here"), ("nosuch", "nosuch is not a service")],
)
def test_rebuild_of_public_image_or_unknown_service_is_rejected(
    project, in_use, lock, recorded, service, why
):
    with pytest.raises(StackError, match=why) as refused:
        rebuild.run(project, service)
    assert "redis" not in str(refused.value)
    assert (in_use.calls, recorded.commands, lock.read_bytes()) == ([], [], OLD)


def test_rebuild_of_stopped_stack_does_not_start_it(project, in_use, lock, canaries, capsys):
    in_use.ps_result = [Service(service.name, "exited") for service in in_use.ps_result]
    rebuild.run(project, None)
    built = ["build", "package_errors humanize", "import_errors", "activate"]
    assert in_use.calls == [*built, "prune"]
    assert lock.read_text() == NEW
    assert canaries == []
    assert capsys.readouterr().out == "Built. The stack is not running.\nRun: inv up\n"


def failed_rebuild(project, engine, lock, error=StackError):
    """Return the error of a rebuild that must fail without activating or replacing anything."""
    with pytest.raises(error) as failed:
        rebuild.run(project, None)
    assert not [call for call in engine.calls if call.startswith(("activate", "replace"))]
    assert lock.read_bytes() == OLD
    return str(failed.value)


def test_rebuild_build_failure_changes_nothing_and_names_line(project, in_use, lock):
    in_use.build_fails = StackError("failed to build humanize")
    message = failed_rebuild(project, in_use, lock)
    assert "failed to build humanize" in message
    assert "install/requirements.txt line 2: humanize>=4.9" in message
    assert "import_errors" not in in_use.calls


def test_rebuild_prune_failure_does_not_hide_build_failure(project, in_use, lock):
    in_use.build_fails = StackError("failed to build humanize")
    in_use.prune_fails = StackError("no Docker engine answers")
    message = failed_rebuild(project, in_use, lock)
    assert "failed to build humanize" in message
    assert "no Docker engine answers" not in message


def test_rebuild_import_errors_change_nothing(project, in_use, lock):
    in_use.errors = "flights.py: No module named 'pandas'"
    message = failed_rebuild(project, in_use, lock)
    assert "cannot be imported in the new image:\nflights.py: No module named 'pandas'" in message


def test_rebuild_package_that_cannot_be_imported_names_line_and_debian_package(
    project, in_use, lock
):
    library = "libgomp.so.1: cannot open shared object file: No such file or directory"
    in_use.failed_imports = f"humanize: import humanize: OSError: {library}"
    message = failed_rebuild(project, in_use, lock)
    assert message.startswith("install/requirements.txt line 2: humanize>=4.9\n")
    assert in_use.failed_imports in message
    assert "Debian package libgomp1. Add the package to install/packages.txt." in message
    assert "import_errors" not in in_use.calls


def test_rebuild_without_change_replaces_nothing(project, in_use, lock, canaries, capsys):
    in_use.current_services = {*in_use.services()}
    rebuild.run(project, None)
    assert not [call for call in in_use.calls if call.startswith("replace")]
    assert canaries == []
    assert "Nothing has changed." in capsys.readouterr().out


def test_rebuild_replaces_only_services_of_changed_images(project, in_use, lock, canaries):
    in_use.current_services = {*in_use.services()} - {"mlflow-migrate", "mlflow"}
    rebuild.run(project, None)
    replaced = [call for call in in_use.calls if call.startswith("replace")]
    assert replaced == ["replace mlflow-migrate", "replace mlflow"]


@pytest.mark.parametrize(
    ("file", "line"),
    [("requirements.txt", "--extra-index-url https://x.example"), ("packages.txt", "libgomp1 x")],
)
def test_rebuild_and_install_refuse_a_line_before_building(
    project, in_use, lock, recorded, file, line
):
    (lock.parent / file).write_text(f"{line}\n")
    message = failed_rebuild(project, in_use, lock)
    assert f"install/{file} line 1: {line}" in message
    with pytest.raises(StackError, match=f"install/{file} line 1"):
        lifecycle.install(project)
    assert "build" not in in_use.calls
    assert recorded.commands == []


def test_up_shows_packages_that_were_not_applied(project, in_use, lock, capsys):
    up.run(project, with_canary=False)
    output = capsys.readouterr().out
    assert "install/requirements.txt line 2: humanize>=4.9" in output
    assert "Run: inv rebuild" in output
    rebuild.run(project, None)
    capsys.readouterr()
    up.run(project, with_canary=False)
    assert "inv rebuild" not in capsys.readouterr().out


def test_rebuild_lock_failure_builds_nothing(project, in_use, lock, recorded):
    recorded.failures = {"pip compile": "no solution: humanize>=4.9"}
    assert "no solution" in failed_rebuild(project, in_use, lock)
    assert "build" not in in_use.calls


@pytest.mark.parametrize("where", ["build", "import_errors"])
def test_rebuild_interrupt_changes_nothing(project, in_use, lock, monkeypatch, where):
    def interrupt(*arguments):
        assert lock.read_text() == NEW
        raise KeyboardInterrupt

    monkeypatch.setattr(in_use, where, interrupt)
    failed_rebuild(project, in_use, lock, KeyboardInterrupt)


def test_rebuild_interrupt_while_locking_changes_nothing(project, in_use, lock, monkeypatch):
    def interrupt(command, **options):
        lock.write_text("half")
        raise KeyboardInterrupt

    monkeypatch.setattr(runner, "run", interrupt)
    failed_rebuild(project, in_use, lock, KeyboardInterrupt)


def test_rebuild_replace_failure_stops_and_keeps_new_lock(project, in_use, lock, canaries):
    in_use.replace_fails = {"airflow-scheduler": StackError("the scheduler does not start")}
    with pytest.raises(StackError, match="the scheduler does not start"):
        rebuild.run(project, None)
    replacements = [call for call in in_use.calls if call.startswith("replace")]
    assert replacements == [
        "replace airflow-init",
        "replace mlflow-migrate",
        "replace airflow-scheduler",
    ]
    assert lock.read_text() == NEW
    assert canaries == []


def test_replace_all_replaces_one_service_at_a_time(project, in_use, monkeypatch, capsys):
    replaced = []
    monkeypatch.setattr(in_use, "replace", lambda name: time.sleep(0.05) or replaced.append(name))
    lifecycle.replace_all(project.settings(), in_use, ["mlflow", "status"])
    assert replaced == ["mlflow", "status"]
    lines = [line.split(maxsplit=2)[2] for line in capsys.readouterr().out.splitlines()]
    assert lines[:2] == [
        "… mlflow                 replacing, running tasks finish first",
        "… status                 waiting",
    ]
    assert "✓ status                 replaced" in lines


def test_rebuild_unhealthy_stack_is_an_error(project, in_use, web, canaries, monkeypatch):
    monkeypatch.setattr(readiness, "READY_SECONDS", 0)
    web.serve_stack(redis="down")
    with pytest.raises(StackError, match=r"not healthy after 0 s\.\nredis: detail of redis"):
        rebuild.run(project, "status")
    assert canaries == []
