"""`inv restore` with a fake engine: comparison, switch, rollback, keys and DAG files."""

from dataclasses import replace
from pathlib import Path

import pytest

from orchestration import pending, preflight
from orchestration.backup import archive, keyfile, restore
from orchestration.clients import accounts, postgres
from orchestration.commands import backup as backup_command
from orchestration.commands import rebuild, restart
from orchestration.commands import restore as restore_command
from orchestration.engines import factory
from orchestration.engines.base import Service
from orchestration.errors import StackError
from orchestration.health import canary, readiness
from orchestration.host.drafts import draft_env
from orchestration.process import background
from orchestration.project import Project

PASSPHRASE = "correct horse battery"


@pytest.fixture(autouse=True)
def healthy(web, monkeypatch):
    """All services are healthy and the canary passes."""
    for name, port in web.serve_stack().items():
        monkeypatch.setenv(name, str(port))
    web.answers["POST /auth/token"] = (201, {"access_token": "t0ken"})
    monkeypatch.setattr(background, "POLL_SECONDS", 0)
    monkeypatch.setattr(readiness, "READY_SECONDS", 5)
    monkeypatch.setattr(canary, "run", lambda airflow: "well")


@pytest.fixture
def backup(project, lived_in, tmp_path):
    """A backup with encrypted keys."""
    (tmp_path / "phrase").write_text(f"{PASSPHRASE}\n")
    backup_command.run(project, passphrase_file=str(tmp_path / "phrase"))
    [folder] = archive.list_backups(lived_in / "backups")
    return folder


def content(engine, name="airflow"):
    return Path(engine.databases, name).read_text()


def databases(engine):
    return sorted(path.name for path in Path(engine.databases).iterdir())


@pytest.fixture
def live(backup, engine):
    """The live database, with a row that was added after the backup."""
    path = Path(engine.databases, "airflow")
    path.write_text(path.read_text().replace("2\n", "2\n3\n"))
    return path.read_text()


def test_restore_replaces_live_databases_with_the_backup(project, backup, live, engine, capsys):
    restore_command.run(project, str(backup), yes=True)
    assert content(engine) == live.replace("3\n", "")
    assert databases(engine) == sorted(postgres.NAMES)
    assert "Restored and verified in" in capsys.readouterr().out
    assert not (backup.parent.parent / ".restoring").exists()


def test_restore_stops_writers_before_the_switch(project, backup, engine):
    engine.calls.clear()
    restore_command.run(project, str(backup), yes=True)
    changes = [call for call in engine.calls if call.startswith(("stop", "replace", "up"))]
    assert changes == [
        "up postgres", "stop airflow-scheduler airflow-worker mlflow", "up",
    ]  # fmt: skip


@pytest.fixture
def script_argument(tmp_path, monkeypatch):
    """The file that a script in a service writes its argument to."""
    script, argument = tmp_path / "script.py", tmp_path / "argument"
    script.write_text(f"import sys; open({str(argument)!r}, 'w').write(sys.argv[1])")
    monkeypatch.setattr(accounts, "runtime_module", lambda name: ("python", str(script)))
    return argument


def test_restore_sets_the_password_of_airflows_account(
    project, backup, web, script_argument, capsys
):
    rejected, accepted = (401, {"detail": "Invalid credentials"}), (201, {"access_token": "t0ken"})
    web.answers["POST /auth/token"] = [rejected, rejected, accepted]
    restore_command.run(project, str(backup), yes=True)
    assert script_argument.read_text() == "renew"
    assert "Airflow account airflow now has the password from .env" in capsys.readouterr().out


def test_restore_sets_the_password_of_mlflows_admin(project, backup, web, script_argument, capsys):
    web.answers["GET /api/2.0/mlflow/users/current"] = (401, {})
    restore_command.run(project, str(backup), yes=True)
    assert script_argument.read_text() == "renew"
    assert "MLflow account admin now has the password from .env" in capsys.readouterr().out


def test_restore_of_backup_without_mlflow_accounts_creates_their_database(project, backup, engine):
    manifest = archive.verify(backup)
    tables = {name: t for name, t in manifest.tables.items() if name != "mlflow_auth"}
    (backup / "mlflow_auth.dump").unlink()
    archive.write_manifest(backup, replace(manifest, tables=tables))
    # The stack does not have that database yet either.
    Path(engine.databases, "mlflow_auth").unlink()
    restore_command.run(project, str(backup), yes=True)
    assert content(engine, "mlflow_auth") == ""
    assert "COPY" in content(engine, "mlflow")
    assert databases(engine) == sorted(postgres.NAMES)


def test_restore_without_yes_asks_for_confirmation(project, backup, live, engine):
    with pytest.raises(StackError, match=f"inv restore {backup} --yes"):
        restore_command.run(project, str(backup), yes=False)
    assert content(engine) == live


def test_restore_replaces_changed_artifact_and_keeps_it(project, backup, engine):
    file = Path(
        engine.command_environments["mlflow"]["MLFLOW_ARTIFACTS_DESTINATION"], "1/model/weights"
    )
    file.write_text("0.7")
    restore_command.run(project, str(backup), yes=True)
    assert file.read_text() == "0.5"
    assert file.with_name("weights.before-restore").read_text() == "0.7"


def test_restore_does_not_touch_unchanged_artifact(project, backup, engine):
    file = Path(
        engine.command_environments["mlflow"]["MLFLOW_ARTIFACTS_DESTINATION"], "1/model/weights"
    )
    before = file.stat().st_ino
    restore_command.run(project, str(backup), yes=True)
    assert file.stat().st_ino == before


def test_restore_with_lost_row_fails_before_the_switch(project, lived_in, engine):
    path = Path(engine.databases, "mlflow")
    path.write_text(path.read_text().replace("2\n", "lost\n"))
    backup_command.run(project)
    [folder] = archive.list_backups(lived_in / "backups")
    with pytest.raises(StackError, match=r"of mlflow differ from the backup: of_mlflow\."):
        restore_command.run(project, str(folder), yes=True)
    assert "lost" in content(engine, "mlflow")
    assert not (lived_in / ".restoring").exists()


def test_restore_of_unloadable_dump_changes_nothing(project, lived_in, engine):
    path = Path(engine.databases, "airflow")
    path.write_text(path.read_text().replace("2\n", "cannot be loaded\n"))
    backup_command.run(project)
    [folder] = archive.list_backups(lived_in / "backups")
    with pytest.raises(StackError, match="could not execute query"):
        restore_command.run(project, str(folder), yes=True)
    assert "cannot be loaded" in content(engine)


@pytest.mark.parametrize("error", [StackError("the canary failed"), KeyboardInterrupt()])
def test_restore_with_failed_canary_rolls_back(project, backup, live, engine, monkeypatch, error):
    errors = [error]

    def run_canary(airflow):
        if errors:
            raise errors.pop()

    monkeypatch.setattr(canary, "run", run_canary)
    with pytest.raises(type(error)) as raised:
        restore_command.run(project, str(backup), yes=True)
    assert content(engine) == live
    assert databases(engine) == sorted(postgres.NAMES)
    if isinstance(error, StackError):
        assert "the canary failed\nThe previous state is back." in str(raised.value)


def test_roll_back_after_killed_restore_brings_the_previous_state_back(
    project, backup, live, lived_in, engine, monkeypatch, capsys
):
    def exit_at_start(*arguments, **options):
        raise SystemExit

    with monkeypatch.context() as patched:
        patched.setattr(restore, "start", exit_at_start)
        patched.setattr(pending, "roll_back", lambda settings, engine: None)
        with pytest.raises(SystemExit):
            restore_command.run(project, str(backup), yes=True)
    assert content(engine) != live
    settings = Project(lived_in, {}).settings()
    pending.roll_back(settings, engine)
    assert content(engine) == live
    # The restored databases may contain new work.
    assert databases(engine) == sorted(
        [*postgres.NAMES, *(f"{name}_loaded" for name in postgres.NAMES)]
    )
    assert f"The restore of {backup} was interrupted" in capsys.readouterr().out
    engine.calls.clear()
    pending.roll_back(settings, engine)
    assert engine.calls == []


def test_roll_back_before_the_switch_changes_nothing(backup, live, engine, lived_in):
    Path(engine.databases, "airflow_loaded").write_text("half")
    (lived_in / ".restoring").write_text(str(backup))
    pending.roll_back(Project(lived_in, {}).settings(), engine)
    assert content(engine) == live
    # Nothing but the database may use a state that is not verified.
    assert "up postgres" in engine.calls
    assert "up" not in engine.calls


def test_roll_back_stops_init_jobs_of_a_killed_start(backup, engine, lived_in):
    (lived_in / ".restoring").write_text(str(backup))
    engine.ps_result.append(Service("mlflow-migrate", "running"))
    pending.roll_back(Project(lived_in, {}).settings(), engine)
    [stopped] = [call for call in engine.calls if call.startswith("stop")]
    assert "mlflow-migrate" in stopped.split()


def new_env(project, clone):
    (clone / ".env").unlink()
    project.write_env(draft_env(project)[0], "docker")


def restore_with_keys(project, backup, tmp_path):
    restore_command.run(
        project,
        str(backup),
        yes=True,
        keys_file=f"{backup}.keys.age",
        passphrase_file=f"{tmp_path}/phrase",
    )


def test_restore_with_keys_onto_empty_stack_writes_them_to_env(
    project, lived_in, engine, tmp_path, capsys, monkeypatch
):
    # Also on a machine where a real engine answers, the stack has no data.
    monkeypatch.setattr(factory, "engine_for", lambda settings: engine)
    with (lived_in / ".env").open("a") as file:
        file.write("OF_AN_OVERRIDE=1\nOF_A_LOST_OVERRIDE=1\nAIRFLOW_VAR_REGION='the north'\n")
    override = lived_in / "orchestration/docker-compose.override.yaml"
    override.write_text("x: ${OF_AN_OVERRIDE} ${OF_A_LOST_OVERRIDE}")
    text = (lived_in / ".env").read_text()
    quoted = "SMTP_PASSWORD='pa$x #1'"  # pragma: allowlist secret
    (lived_in / ".env").write_text(text.replace("SMTP_PASSWORD=", quoted))
    (tmp_path / "phrase").write_text(f"{PASSPHRASE}\n")
    backup_command.run(project, passphrase_file=str(tmp_path / "phrase"))
    [backup] = archive.list_backups(lived_in / "backups")
    before = Project(lived_in, {}).settings()
    override.write_text("x: ${OF_AN_OVERRIDE}")
    new_env(project, lived_in)
    restore_with_keys(project, backup, tmp_path)
    after = Project(lived_in, {}).settings()
    assert (after["OF_AN_OVERRIDE"], after["AIRFLOW_VAR_REGION"]) == ("1", "the north")
    assert "OF_A_LOST_OVERRIDE" not in after.values
    assert after["AIRFLOW_FERNET_KEY"] == before["AIRFLOW_FERNET_KEY"]
    assert after["_AIRFLOW_WWW_USER_PASSWORD"] == before["_AIRFLOW_WWW_USER_PASSWORD"]
    assert after["SMTP_PASSWORD"] == "pa$x #1"  # pragma: allowlist secret
    # New volumes get the passwords that this clone generated.
    assert after["POSTGRES_PASSWORD"] != before["POSTGRES_PASSWORD"]
    output = capsys.readouterr().out
    assert "were written to .env" in output
    assert "no effect in this clone: OF_A_LOST_OVERRIDE\n" in output


def test_restore_with_keys_onto_data_adds_the_key_after_the_current_one(
    project, backup, lived_in, engine, tmp_path, monkeypatch, capsys
):
    old_key = Project(lived_in, {}).settings()["AIRFLOW_FERNET_KEY"]
    new_env(project, lived_in)
    before = Project(lived_in, {}).settings()
    monkeypatch.setattr(factory, "engine_for", lambda settings: engine)
    engine.volumes = ["x_postgres"]
    restore_with_keys(project, backup, tmp_path)
    both = f"{before['AIRFLOW_FERNET_KEY']},{old_key}"
    assert Project(lived_in, {}).settings().values == {**before.values, "AIRFLOW_FERNET_KEY": both}
    assert old_key not in capsys.readouterr().out


def test_restore_after_rotation_uses_the_key_that_was_kept(
    project, backup, lived_in, live, engine, capsys
):
    env = lived_in / ".env"
    old_key = Project(lived_in, {}).settings()["AIRFLOW_FERNET_KEY"]
    new_env(project, lived_in)
    kept = f"AIRFLOW_FORMER_FERNET_KEYS={old_key}"
    env.write_text(env.read_text().replace("AIRFLOW_FORMER_FERNET_KEYS=", kept))
    key = Project(lived_in, {}).settings()["AIRFLOW_FERNET_KEY"]
    restore_command.run(project, str(backup), yes=True)
    assert content(engine) == live.replace("3\n", "")
    assert Project(lived_in, {}).settings()["AIRFLOW_FERNET_KEY"] == f"{key},{old_key}"
    assert "inv secrets --rotate AIRFLOW_FERNET_KEY" in capsys.readouterr().out


def test_restore_with_keys_of_another_backup_is_rejected(project, backup, lived_in, tmp_path):
    keyfile.encrypt("AIRFLOW_FERNET_KEY=other\n", PASSPHRASE, Path(f"{backup}.keys.age"))
    with pytest.raises(StackError, match="the keys of another backup"):
        restore_with_keys(project, backup, tmp_path)


def test_restore_with_current_keys_does_not_change_env(project, backup, lived_in, tmp_path):
    text = (lived_in / ".env").read_text()
    restore_with_keys(project, backup, tmp_path)
    assert (lived_in / ".env").read_text() == text


def test_restore_lists_different_dag_files_or_replaces_them(project, backup, lived_in, capsys):
    mine, new = lived_in / "dags/mine.py", lived_in / "dags/new.py"
    mine.write_text("# changed\n")
    new.write_text("# new\n")
    restore_command.run(project, str(backup), yes=True)
    assert "differ from the backup: mine.py, new.py" in capsys.readouterr().out
    assert mine.read_text() == "# changed\n"
    restore_command.run(project, str(backup), yes=True, dags=True)
    assert (mine.read_text(), new.exists()) == ("# a DAG\n", False)
    [previous] = lived_in.glob("dags.before-*")
    assert (previous / "new.py").read_text() == "# new\n"


def test_restore_needs_only_the_database(project, backup, engine, monkeypatch):
    """Other services may be broken, and the restore may be meant to fix them."""
    monkeypatch.setattr(preflight, "foreign_ports", lambda settings, engine: [])
    monkeypatch.setattr(
        restore, "start", lambda settings, engine, **options: engine.calls.append("start")
    )
    engine.ps_result = []
    engine.calls.clear()
    restore_command.run(project, str(backup), yes=True)
    assert engine.calls == ["up postgres", "stop ", "start"]


def test_restore_drops_stale_previous_databases(project, backup, live, engine):
    for name in postgres.NAMES:
        Path(engine.databases, f"{name}_before").write_text("stale")
    restore_command.run(project, str(backup), yes=True)
    assert content(engine) == live.replace("3\n", "")
    assert databases(engine) == sorted(postgres.NAMES)


def test_other_commands_refuse_to_run_while_a_restore_is_pending(project, backup, lived_in):
    (lived_in / ".restoring").write_text(str(backup))
    commands = (
        backup_command.run,
        lambda project: restart.run(project, None),
        lambda project: rebuild.run(project, None),
    )
    for command in commands:
        with pytest.raises(StackError, match="A restore was interrupted"):
            command(project)


def test_restore_without_keys_needs_the_option(project, backup, lived_in, live, engine):
    new_env(project, lived_in)
    with pytest.raises(StackError, match="--without-keys"):
        restore_command.run(project, str(backup), yes=True)
    restore_command.run(project, str(backup), yes=True, without_keys=True)
    assert content(engine) == live.replace("3\n", "")


def test_restore_with_keys_needs_a_passphrase_file(project, backup):
    with pytest.raises(StackError, match="--passphrase-file FILE"):
        restore_command.run(project, str(backup), yes=True, keys_file=f"{backup}.keys.age")


def test_restore_of_damaged_backup_fails_before_any_engine_call(project, backup, engine):
    (backup / "dags.tar").write_bytes(b"")
    engine.calls.clear()
    with pytest.raises(StackError, match=r"dags\.tar has 0 bytes"):
        restore_command.run(project, str(backup), yes=True)
    assert engine.calls == []
