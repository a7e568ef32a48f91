"""A restore into a stack of paper: what is compared, switched, taken back, and left alone."""

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

PHRASE = "correct horse battery"


@pytest.fixture(autouse=True)
def well(web, monkeypatch):
    """Every service answers well, and the canary comes through."""
    for name, port in web.stack_is_well().items():
        monkeypatch.setenv(name, str(port))
    web.answers["POST /auth/token"] = (201, {"access_token": "t0ken"})
    monkeypatch.setattr(background, "POLL_SECONDS", 0)
    monkeypatch.setattr(readiness, "READY_SECONDS", 5)
    monkeypatch.setattr(canary, "prove", lambda airflow: "well")


@pytest.fixture
def made(project, lived_in, tmp_path):
    """A backup, and a row and an artifact that came after it."""
    (tmp_path / "phrase").write_text(f"{PHRASE}\n")
    backup_command.run(project, passphrase_file=str(tmp_path / "phrase"))
    [folder] = archive.all_of(lived_in / "backups")
    return folder


def rows(engine, name="airflow"):
    return Path(engine.databases, name).read_text()


def names(engine):
    return sorted(path.name for path in Path(engine.databases).iterdir())


@pytest.fixture
def later(made, engine):
    """What the live database holds by now."""
    path = Path(engine.databases, "airflow")
    path.write_text(path.read_text().replace("2\n", "2\n3\n"))
    return path.read_text()


def test_what_was_backed_up_is_there_again_and_what_came_later_is_not(
    project, made, later, engine, capsys
):
    restore_command.run(project, str(made), yes=True)
    assert rows(engine) == later.replace("3\n", "")
    assert names(engine) == sorted(postgres.NAMES)
    assert "restored and proven in" in capsys.readouterr().out
    assert not (made.parent.parent / ".restoring").exists()


def test_who_writes_is_stopped_before_and_the_schemas_are_looked_at_after(project, made, engine):
    engine.asked.clear()
    restore_command.run(project, str(made), yes=True)
    changes = [asked for asked in engine.asked if asked.startswith(("stop", "replace", "up"))]
    assert changes == [
        "up postgres", "stop airflow-scheduler airflow-worker mlflow", "up",
    ]  # fmt: skip


@pytest.fixture
def script_told(tmp_path, monkeypatch):
    """The file that holds what a script inside a service was told."""
    script, told = tmp_path / "script.py", tmp_path / "said"
    script.write_text(f"import sys; open({str(told)!r}, 'w').write(sys.argv[1])")
    monkeypatch.setattr(accounts, "runtime_module", lambda name: ("python", str(script)))
    return told


def test_an_account_that_had_another_password_then_gets_that_of_env(
    project, made, web, script_told, capsys
):
    refused, let_in = (401, {"detail": "Invalid credentials"}), (201, {"access_token": "t0ken"})
    web.answers["POST /auth/token"] = [refused, refused, let_in]
    restore_command.run(project, str(made), yes=True)
    assert script_told.read_text() == "renew"
    assert "the account airflow has the password of .env" in capsys.readouterr().out


def test_mlflows_admin_that_had_another_password_then_gets_that_of_env(
    project, made, web, script_told, capsys
):
    web.answers["GET /api/2.0/mlflow/users/current"] = (401, {})
    restore_command.run(project, str(made), yes=True)
    assert script_told.read_text() == "renew"
    assert "MLflow's account admin has the password of .env" in capsys.readouterr().out


def test_one_of_before_mlflow_asked_for_accounts_brings_an_empty_database_for_them(
    project, made, engine
):
    manifest = archive.checked(made)
    tables = {name: told for name, told in manifest.tables.items() if name != "mlflow_auth"}
    (made / "mlflow_auth.dump").unlink()
    archive.write_manifest(made, replace(manifest, tables=tables))
    # Nor does the stack that it is put into know them yet.
    Path(engine.databases, "mlflow_auth").unlink()
    restore_command.run(project, str(made), yes=True)
    assert rows(engine, "mlflow_auth") == ""
    assert "COPY" in rows(engine, "mlflow")
    assert names(engine) == sorted(postgres.NAMES)


def test_without_yes_it_only_tells_what_it_would_do(project, made, later, engine):
    with pytest.raises(StackError, match=f"inv restore {made} --yes"):
        restore_command.run(project, str(made), yes=False)
    assert rows(engine) == later


def test_an_artifact_that_became_another_is_there_again(project, made, engine):
    file = Path(engine.environments["mlflow"]["MLFLOW_ARTIFACTS_DESTINATION"], "1/model/weights")
    file.write_text("0.7")
    restore_command.run(project, str(made), yes=True)
    assert file.read_text() == "0.5"
    assert file.with_name("weights.before-restore").read_text() == "0.7"


def test_an_artifact_that_is_there_is_left_alone(project, made, engine):
    file = Path(engine.environments["mlflow"]["MLFLOW_ARTIFACTS_DESTINATION"], "1/model/weights")
    before = file.stat().st_ino
    restore_command.run(project, str(made), yes=True)
    assert file.stat().st_ino == before


def test_a_row_that_is_lost_on_the_way_is_noticed_and_nothing_is_switched(
    project, lived_in, engine
):
    path = Path(engine.databases, "mlflow")
    path.write_text(path.read_text().replace("2\n", "lost\n"))
    backup_command.run(project)
    [folder] = archive.all_of(lived_in / "backups")
    with pytest.raises(StackError, match=r"not what was backed up: \['of_mlflow'\]"):
        restore_command.run(project, str(folder), yes=True)
    assert "lost" in rows(engine, "mlflow")
    assert not (lived_in / ".restoring").exists()


def test_what_cannot_be_loaded_leaves_all_as_it_was(project, lived_in, engine):
    path = Path(engine.databases, "airflow")
    path.write_text(path.read_text().replace("2\n", "cannot be loaded\n"))
    backup_command.run(project)
    [folder] = archive.all_of(lived_in / "backups")
    with pytest.raises(StackError, match="could not execute query"):
        restore_command.run(project, str(folder), yes=True)
    assert "cannot be loaded" in rows(engine)


@pytest.mark.parametrize("error", [StackError("the canary failed"), KeyboardInterrupt()])
def test_where_the_canary_fails_the_old_state_comes_back(
    project, made, later, engine, monkeypatch, error
):
    answers = [error]

    def prove(airflow):
        if answers:
            raise answers.pop()

    monkeypatch.setattr(canary, "prove", prove)
    with pytest.raises(type(error)) as failed:
        restore_command.run(project, str(made), yes=True)
    assert rows(engine) == later
    assert names(engine) == sorted(postgres.NAMES)
    if isinstance(error, StackError):
        assert "the canary failed\nthe old state is back" in str(failed.value)


def test_the_next_start_takes_back_one_that_was_killed(
    project, made, later, lived_in, engine, monkeypatch, capsys
):
    def killed(*asked, **how):
        raise SystemExit

    with monkeypatch.context() as patched:
        patched.setattr(restore, "start", killed)
        patched.setattr(pending, "take_back", lambda chosen, engine: None)
        with pytest.raises(SystemExit):
            restore_command.run(project, str(made), yes=True)
    assert rows(engine) != later
    chosen = Project(lived_in, {}).settings()
    pending.take_back(chosen, engine)
    assert rows(engine) == later
    # Somebody may have worked with it.
    assert names(engine) == sorted(f"{n}{end}" for n in postgres.NAMES for end in ("", "_loaded"))
    assert f"The restore of {made} was interrupted" in capsys.readouterr().out
    engine.asked.clear()
    pending.take_back(chosen, engine)
    assert engine.asked == []


def test_one_that_was_killed_before_it_switched_changed_nothing(made, later, engine, lived_in):
    Path(engine.databases, "airflow_loaded").write_text("half")
    (lived_in / ".restoring").write_text(str(made))
    pending.take_back(Project(lived_in, {}).settings(), engine)
    assert rows(engine) == later
    # Not all of it: nothing is to run on a state that nobody has proven.
    assert "up postgres" in engine.asked
    assert "up" not in engine.asked


def test_one_shots_of_the_start_that_was_killed_are_ended_too(made, engine, lived_in):
    (lived_in / ".restoring").write_text(str(made))
    engine.listed.append(Service("mlflow-migrate", "running"))
    pending.take_back(Project(lived_in, {}).settings(), engine)
    [stopped] = [asked for asked in engine.asked if asked.startswith("stop")]
    assert "mlflow-migrate" in stopped.split()


def new_env(project, clone):
    (clone / ".env").unlink()
    project.write_env(draft_env(project)[0], "docker")


def take(project, made, tmp_path):
    restore_command.run(
        project,
        str(made),
        yes=True,
        keys_file=f"{made}.keys.age",
        passphrase_file=f"{tmp_path}/phrase",
    )


def test_onto_an_empty_stack_the_keys_come_along(
    project, lived_in, engine, tmp_path, capsys, monkeypatch
):
    # Nothing of it is on this machine, whether an engine answers here or not.
    monkeypatch.setattr(factory, "engine_for", lambda chosen: engine)
    with (lived_in / ".env").open("a") as file:
        file.write("OF_AN_OVERRIDE=1\n")
    text = (lived_in / ".env").read_text()
    quoted = "SMTP_PASSWORD='pa$x #1'"  # pragma: allowlist secret
    (lived_in / ".env").write_text(text.replace("SMTP_PASSWORD=", quoted))
    (tmp_path / "phrase").write_text(f"{PHRASE}\n")
    backup_command.run(project, passphrase_file=str(tmp_path / "phrase"))
    [made] = archive.all_of(lived_in / "backups")
    before = Project(lived_in, {}).settings()
    new_env(project, lived_in)
    take(project, made, tmp_path)
    after = Project(lived_in, {}).settings()
    assert after["AIRFLOW_FERNET_KEY"] == before["AIRFLOW_FERNET_KEY"]
    assert after["_AIRFLOW_WWW_USER_PASSWORD"] == before["_AIRFLOW_WWW_USER_PASSWORD"]
    assert after["SMTP_PASSWORD"] == "pa$x #1"  # pragma: allowlist secret
    assert "OF_AN_OVERRIDE=1" in (lived_in / ".env").read_text()
    # Volumes that are made anew get what this clone made up.
    assert after["POSTGRES_PASSWORD"] != before["POSTGRES_PASSWORD"]
    assert "taken over" in capsys.readouterr().out


def test_where_there_is_data_the_key_of_the_backup_is_added_behind_the_one_in_use(
    project, made, lived_in, engine, tmp_path, monkeypatch, capsys
):
    former = Project(lived_in, {}).settings()["AIRFLOW_FERNET_KEY"]
    new_env(project, lived_in)
    before = Project(lived_in, {}).settings()
    monkeypatch.setattr(factory, "engine_for", lambda chosen: engine)
    engine.volumes = ["x_postgres"]
    take(project, made, tmp_path)
    both = f"{before['AIRFLOW_FERNET_KEY']},{former}"
    assert Project(lived_in, {}).settings().values == {**before.values, "AIRFLOW_FERNET_KEY": both}
    assert former not in capsys.readouterr().out


def test_a_backup_of_before_a_rotation_is_opened_by_the_key_that_was_kept(
    project, made, lived_in, later, engine, capsys
):
    env = lived_in / ".env"
    former = Project(lived_in, {}).settings()["AIRFLOW_FERNET_KEY"]
    new_env(project, lived_in)
    kept = f"AIRFLOW_FORMER_FERNET_KEYS={former}"
    env.write_text(env.read_text().replace("AIRFLOW_FORMER_FERNET_KEYS=", kept))
    key = Project(lived_in, {}).settings()["AIRFLOW_FERNET_KEY"]
    restore_command.run(project, str(made), yes=True)
    assert rows(engine) == later.replace("3\n", "")
    assert Project(lived_in, {}).settings()["AIRFLOW_FERNET_KEY"] == f"{key},{former}"
    assert "inv secrets --rotate AIRFLOW_FERNET_KEY" in capsys.readouterr().out


def test_keys_of_another_backup_are_refused(project, made, lived_in, tmp_path):
    keyfile.encrypt("AIRFLOW_FERNET_KEY=other\n", PHRASE, Path(f"{made}.keys.age"))
    with pytest.raises(StackError, match="the keys of another backup"):
        take(project, made, tmp_path)


def test_keys_that_are_here_already_change_nothing(project, made, lived_in, tmp_path):
    text = (lived_in / ".env").read_text()
    take(project, made, tmp_path)
    assert (lived_in / ".env").read_text() == text


def test_dag_files_are_told_and_only_taken_when_asked(project, made, lived_in, capsys):
    mine, new = lived_in / "dags/mine.py", lived_in / "dags/new.py"
    mine.write_text("# changed\n")
    new.write_text("# new\n")
    restore_command.run(project, str(made), yes=True)
    assert "differ from the backup's: mine.py, new.py" in capsys.readouterr().out
    assert mine.read_text() == "# changed\n"
    restore_command.run(project, str(made), yes=True, dags=True)
    assert (mine.read_text(), new.exists()) == ("# a DAG\n", False)
    [kept] = lived_in.glob("dags.before-*")
    assert (kept / "new.py").read_text() == "# new\n"


def test_only_the_database_has_to_be_there(project, made, engine, monkeypatch):
    """What is broken may be what is to be replaced."""
    monkeypatch.setattr(preflight, "foreign_ports", lambda chosen, engine: [])
    monkeypatch.setattr(
        restore, "start", lambda chosen, engine, **how: engine.asked.append("start")
    )
    engine.listed = []
    engine.asked.clear()
    restore_command.run(project, str(made), yes=True)
    assert engine.asked == ["up postgres", "stop ", "start"]


def test_what_an_earlier_one_forgot_is_not_taken_for_the_old_state(project, made, later, engine):
    for name in postgres.NAMES:
        Path(engine.databases, f"{name}_before").write_text("stale")
    restore_command.run(project, str(made), yes=True)
    assert rows(engine) == later.replace("3\n", "")
    assert names(engine) == sorted(postgres.NAMES)


def test_meanwhile_nothing_is_built_on_what_is_unproven(project, made, lived_in):
    (lived_in / ".restoring").write_text(str(made))
    verbs = (
        backup_command.run,
        lambda project: restart.run(project, None),
        lambda project: rebuild.run(project, None),
    )
    for verb in verbs:
        with pytest.raises(StackError, match="A restore was interrupted"):
            verb(project)


def test_without_its_keys_all_else_comes_back_where_that_is_said(
    project, made, lived_in, later, engine
):
    new_env(project, lived_in)
    with pytest.raises(StackError, match="--without-keys"):
        restore_command.run(project, str(made), yes=True)
    restore_command.run(project, str(made), yes=True, without_keys=True)
    assert rows(engine) == later.replace("3\n", "")


def test_keys_need_what_opens_them(project, made):
    with pytest.raises(StackError, match="--passphrase-file FILE"):
        restore_command.run(project, str(made), yes=True, keys_file=f"{made}.keys.age")


def test_what_is_not_whole_is_refused_before_anything_is_asked(project, made, engine):
    (made / "dags.tar").write_bytes(b"")
    engine.asked.clear()
    with pytest.raises(StackError, match=r"dags\.tar has 0 bytes"):
        restore_command.run(project, str(made), yes=True)
    assert engine.asked == []
