"""Test rotations with a fake engine: order, interruptions, refusals and the list of secrets."""

import json
import stat

import pytest

from orchestration import pending
from orchestration.backup import archive
from orchestration.clients import accounts
from orchestration.commands import backup as backup_command
from orchestration.commands import secrets, up
from orchestration.engines.base import Service
from orchestration.errors import StackError
from orchestration.health import canary
from orchestration.process import background
from orchestration.project import Project
from orchestration.settings.model import PREVIOUS_KEYS, SECRETS

KEY, ADMIN = "AIRFLOW_FERNET_KEY", "_AIRFLOW_WWW_USER_PASSWORD"
SCRIPT = """
import json, sys
open({file!r}, "w").write(sys.stdin.read())
print("a line of the engine's")
print(json.dumps({{"reencrypted": 7}}))
"""


@pytest.fixture(autouse=True)
def healthy(web, monkeypatch, lived_in, engine, tmp_path):
    """Provide healthy services, a canary that succeeds and a script that records its input."""
    for name, port in web.serve_stack().items():
        monkeypatch.setenv(name, str(port))
    web.answers["POST /auth/token"] = (201, {"access_token": "t0ken"})
    monkeypatch.setattr(background, "POLL_SECONDS", 0)
    monkeypatch.setattr(canary, "run", lambda airflow: engine.calls.append("canary"))
    script = tmp_path / "rotate_fernet_key.py"
    script.write_text(SCRIPT.format(file=str(tmp_path / "request")))
    monkeypatch.setattr(secrets, "runtime_module", lambda name: ("python", str(script)))


@pytest.fixture
def request_sent(tmp_path):
    """Return a function that returns the script's input, or None if it did not run."""
    path = tmp_path / "request"
    return lambda: json.loads(path.read_text()) if path.exists() else None


def values(clone):
    return Project(clone, {}).settings().values


@pytest.mark.parametrize("name", SECRETS)
def test_rotate_changes_only_the_named_secret(project, lived_in, name):
    before = values(lived_in)
    secrets.rotate(project, [name])
    after = values(lived_in)
    assert {each for each in before if before[each] != after[each]} == {name}
    assert stat.S_IMODE((lived_in / ".env").stat().st_mode) == 0o600
    assert not (lived_in / ".env.rotating").exists()


def test_rotate_finishes_tasks_first_and_runs_canary_last(project, lived_in, engine):
    engine.calls.clear()
    secrets.rotate(project, ["AIRFLOW_JWT_SECRET"])
    assert engine.calls == ["finish_tasks", "up", "canary"]


def test_rotate_changes_database_password_in_the_database(project, lived_in, engine, request_sent):
    before = values(lived_in)
    secrets.rotate(project, ["POSTGRES_PASSWORD", "MLFLOW_DB_PASSWORD"])
    after = values(lived_in)
    assert engine.calls[-4:] == ["finish_tasks", "up postgres", "up", "canary"]
    assert request_sent() == {
        "superuser": [before["POSTGRES_PASSWORD"], after["POSTGRES_PASSWORD"]],
        "roles": {
            "postgres": after["POSTGRES_PASSWORD"], "mlflow": after["MLFLOW_DB_PASSWORD"],
        },
        "keys": [],
    }  # fmt: skip


def test_rotate_fernet_key_reencrypts_while_airflow_is_stopped(
    project, lived_in, engine, request_sent, capsys
):
    previous = values(lived_in)[KEY]
    # An init job cannot be stopped.
    engine.ps_result.append(Service("airflow-init", "exited"))
    secrets.rotate(project, [KEY])
    assert engine.calls[-5:] == [
        "finish_tasks", "stop airflow-scheduler airflow-worker", "up postgres", "up", "canary",
    ]  # fmt: skip
    assert request_sent()["keys"] == [values(lived_in)[KEY], previous]
    assert "Re-encrypted 7 values." in capsys.readouterr().out


def test_rotate_fernet_key_keeps_both_keys_in_env_meanwhile(project, lived_in, engine, tmp_path):
    previous = values(lived_in)[KEY]
    (tmp_path / "rotate_fernet_key.py").write_text("import sys; sys.exit('no room left')")
    with pytest.raises(StackError, match="no room left"):
        secrets.rotate(project, [KEY])
    new = pending.new_secrets(Project(lived_in, {}).settings())[KEY]
    assert values(lived_in)[KEY] == f"{new},{previous}"


def test_rotate_keeps_old_key_that_a_backup_needs(project, lived_in):
    previous = values(lived_in)[KEY]
    backup_command.run(project)
    secrets.rotate(project, [KEY])
    after = values(lived_in)
    assert (after[PREVIOUS_KEYS], previous in after[KEY]) == (previous, False)
    [backup] = archive.list_backups(lived_in / "backups")
    (backup / archive.MANIFEST).unlink()
    secrets.rotate(project, [KEY])
    assert values(lived_in)[PREVIOUS_KEYS] == ""


def test_rotate_account_password_updates_airflow(project, lived_in, monkeypatch):
    passwords = []
    monkeypatch.setattr(
        accounts,
        "sync_airflow_password",
        lambda settings, engine: passwords.append(settings[ADMIN]),
    )
    secrets.rotate(project, [ADMIN])
    secrets.rotate(project, ["REDIS_PASSWORD"])
    assert passwords == [values(lived_in)[ADMIN]]


def test_rotate_prints_no_value(project, lived_in, capsys):
    before = values(lived_in)
    secrets.rotate(project, ["all"])
    secrets.states(project)
    output = "".join(capsys.readouterr())
    after = values(lived_in)
    assert not [n for n in SECRETS if before[n] in output or after[n] in output]
    assert "inv backup" in output


# Interruptions


class Killed(BaseException):
    """Interrupt code like SIGKILL: nothing catches it."""


def kill_at(step, engine, monkeypatch):
    def kill(*_, **__):
        raise Killed

    places = {
        "finishing tasks": (engine, "finish_tasks"),
        "database": (secrets, "_update_database"),
        "env": (secrets, "_write"),
        "start": (secrets, "start"),
        "account": (accounts, "sync_airflow_password"),
        "end": (pending, "end_rotation"),
    }
    monkeypatch.setattr(*places[step], kill)


@pytest.mark.parametrize("again", ["up", "the same command"])
@pytest.mark.parametrize("step", ["database", "env", "start", "account", "end"])
def test_rotation_killed_at_any_step_resumes_with_the_same_values(
    project, lived_in, engine, monkeypatch, request_sent, step, again
):
    before = values(lived_in)
    with monkeypatch.context() as patched:
        kill_at(step, engine, patched)
        with pytest.raises(Killed):
            secrets.rotate(project, ["all"])
    new = pending.new_secrets(Project(lived_in, {}).settings())
    assert stat.S_IMODE((lived_in / ".env.rotating").stat().st_mode) == 0o600
    assert {*new} == {*SECRETS}
    up.run(project) if again == "up" else secrets.rotate(project, ["all"])
    after = values(lived_in)
    assert {name: after[name] for name in SECRETS} == new
    assert not (lived_in / ".env.rotating").exists()
    # The server may or may not have the new password already.
    assert {*request_sent()["superuser"]} <= {
        before["POSTGRES_PASSWORD"],
        after["POSTGRES_PASSWORD"],
    }
    assert after["POSTGRES_PASSWORD"] in request_sent()["superuser"]


def test_resumed_rotation_stops_nothing_once_env_is_complete(
    project, lived_in, engine, monkeypatch
):
    with monkeypatch.context() as patched:
        kill_at("start", engine, patched)
        with pytest.raises(Killed):
            secrets.rotate(project, ["all"])
    engine.calls.clear()
    up.run(project)
    assert engine.calls == ["up", "canary"]


def test_rotation_killed_while_tasks_finish_changes_nothing(project, lived_in, engine, monkeypatch):
    before = values(lived_in)
    with monkeypatch.context() as patched:
        kill_at("finishing tasks", engine, patched)
        with pytest.raises(Killed):
            secrets.rotate(project, ["all"])
    up.run(project)
    assert values(lived_in) == before


def test_rotation_that_cannot_finish_names_the_next_step(project, lived_in, engine):
    engine.start_fails = StackError("no space left")
    with pytest.raises(StackError, match=r"no space left\n(.|\n)*Run inv up or this command again"):
        secrets.rotate(project, ["REDIS_PASSWORD"])
    with pytest.raises(StackError, match="A rotation of REDIS_PASSWORD was interrupted"):
        backup_command.run(project)


def test_rotation_failed_canary_reports_that_values_are_in_use(project, lived_in, monkeypatch):
    def fail(airflow):
        raise StackError("The canary failed.")

    monkeypatch.setattr(canary, "run", fail)
    with pytest.raises(StackError, match=r"are in use, but .*\nThe canary failed\.\nRun: inv"):
        secrets.rotate(project, ["REDIS_PASSWORD"])
    assert not (lived_in / ".env.rotating").exists()


# Refusals


def test_rotate_unknown_name_raises(project, lived_in):
    with pytest.raises(StackError, match=r"^SMTP_PASSWORD cannot be rotated"):
        secrets.rotate(project, ["SMTP_PASSWORD", "REDIS_PASSWORD"])


@pytest.mark.parametrize("stopped", [True, False])
def test_rotate_unhealthy_or_stopped_stack_raises(
    project, lived_in, engine, web, monkeypatch, stopped
):
    if stopped:
        engine.ps_result = []
    web.serve_stack(mlflow="down")
    before = (lived_in / ".env").read_text()
    with pytest.raises(StackError, match=r"(Nothing is running|Unhealthy: .*)\.\nRun: inv up$"):
        secrets.rotate(project, ["REDIS_PASSWORD"])
    assert (lived_in / ".env").read_text() == before
    assert "finish_tasks" not in engine.calls


def test_rotate_weak_secret_of_stopped_stack_is_allowed(project, lived_in, engine):
    env = lived_in / ".env"
    weak = "changeme-changeme"  # pragma: allowlist secret
    env.write_text(env.read_text().replace(values(lived_in)["POSTGRES_PASSWORD"], weak))
    with pytest.raises(StackError, match="inv secrets --rotate POSTGRES_PASSWORD"):
        up.run(project)
    services_before, engine.ps_result = engine.ps_result, []
    engine_up = engine.up

    def start(services=()):
        engine_up(services)
        engine.ps_result = services_before

    engine.up = start
    secrets.rotate(project, ["POSTGRES_PASSWORD"])
    assert "finish_tasks" not in engine.calls
    assert values(lived_in)["POSTGRES_PASSWORD"] != weak


def test_rotate_exported_secret_raises(project, lived_in, monkeypatch):
    monkeypatch.setenv("REDIS_PASSWORD", SECRETS["REDIS_PASSWORD"]())
    with pytest.raises(StackError, match=r"which overrides \.env\.\nRun: unset REDIS_PASSWORD"):
        secrets.rotate(project, ["REDIS_PASSWORD"])


# List


def test_states_lists_purpose_and_verdict_of_each_secret(project, lived_in, monkeypatch):
    env = lived_in / ".env"
    env.write_text(env.read_text().replace(values(lived_in)["REDIS_PASSWORD"], "foobared"))
    states = {name: (purpose, verdict) for name, purpose, verdict in secrets.states(project)}
    assert {*states} == {*SECRETS}
    assert all(purpose and not purpose.startswith("generated") for purpose, _ in states.values())
    assert states["REDIS_PASSWORD"][1] == "shorter than 16 characters"
    assert states["AIRFLOW_JWT_SECRET"] == ("signs the tokens between Airflow's services", "good")
