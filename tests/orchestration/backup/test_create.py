"""A backup of a stack of paper: what is in it, what is kept, and what is left of one that fails."""

import json
import re
import stat
from pathlib import Path

import pytest

from orchestration import checksums
from orchestration.backup import archive, keyfile
from orchestration.backup import create as backup_create
from orchestration.clients import object_store
from orchestration.commands import backup as backup_command
from orchestration.errors import StackError
from orchestration.project import Project


def made(clone):
    return archive.all_of(clone / "backups")


def report(clone):
    return json.loads((clone / "backups/report/report.json").read_text())


def test_it_holds_the_databases_the_artifacts_and_the_dags(project, lived_in, capsys):
    backup_command.run(project)
    [folder] = made(lived_in)
    assert {path.name for path in folder.iterdir()} == {
        "airflow.dump", "mlflow.dump", "mlflow_auth.dump", "artifacts.tar", "dags.tar",
        "manifest.json",
    }  # fmt: skip
    manifest = archive.checked(folder)
    assert manifest.tables["airflow"]["of_airflow"]["rows"] == 2
    assert manifest.artifacts["rows"] == 1
    assert manifest.versions == {"airflow": "3.0.1", "mlflow": "3.17.2", "postgres": "16.14"}
    assert set(archive.contents(folder / "dags.tar")) == {
        "dags/mine.py", "install/requirements.txt", "install/requirements.lock",
    }  # fmt: skip
    said = capsys.readouterr().out
    assert re.search(r"6 rows, 1 artifact files, 0 MiB, in \d+ s", said)
    assert "without the keys of .env" in said


def test_of_a_stack_that_does_not_know_mlflows_accounts_yet_their_database_is_empty(
    project, lived_in, engine
):
    Path(engine.databases, "mlflow_auth").unlink()
    backup_command.run(project)
    [folder] = made(lived_in)
    assert archive.checked(folder).tables["mlflow_auth"] == {
        "(sequences)": {"rows": 0, "digest": "0" * 32}
    }


def test_the_status_page_is_told_and_may_read_only_that(project, lived_in):
    backup_command.run(project)
    [folder] = made(lived_in)
    assert report(lived_in)["verified"] is True
    assert report(lived_in)["made_at"] == archive.checked(folder).made_at
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert stat.S_IMODE((lived_in / "backups/report/report.json").stat().st_mode) == 0o644


@pytest.mark.parametrize("by_setting", [True, False])
def test_the_keys_are_apart_and_encrypted(
    project, lived_in, tmp_path, monkeypatch, by_setting, capsys
):
    phrase = tmp_path / "phrase"
    phrase.write_text("correct horse battery\n")
    if by_setting:
        monkeypatch.setenv("BACKUP_PASSPHRASE_FILE", str(phrase))
    backup_command.run(project, passphrase_file="" if by_setting else str(phrase))
    [folder] = made(lived_in)
    file = folder.with_name(f"{folder.name}.keys.age")
    assert keyfile.decrypt(file, "correct horse battery") == (lived_in / ".env").read_text()
    assert "without the keys" not in capsys.readouterr().out


def test_only_the_newest_are_kept_and_their_keys_with_them(project, lived_in):
    for day in ("20200101", "20200102", "20200103"):
        folder = lived_in / f"backups/{day}T000000Z"
        folder.mkdir(parents=True)
        (folder / "manifest.json").write_text("{}")
        folder.with_name(f"{folder.name}.keys.age").write_text("x")
    backup_command.run(project, keep="2")
    assert len(made(lived_in)) == 2
    left = sorted(path.name for path in (lived_in / "backups").glob("2020*"))
    assert left == ["20200103T000000Z", "20200103T000000Z.keys.age"]


@pytest.mark.parametrize("keep", ["0", "many", "-1"])
def test_a_number_that_is_none_is_refused(project, keep):
    with pytest.raises(StackError, match="--keep 7"):
        backup_command.run(project, keep=keep)


def test_where_nothing_runs_the_next_command_is_told(project, lived_in, engine):
    engine.listed = []
    with pytest.raises(StackError, match="inv up"):
        backup_command.run(project)


def test_nothing_is_left_of_one_that_fails(project, lived_in, engine):
    Path(engine.databases, "airflow").unlink()
    with pytest.raises(StackError, match="pg_dump"):
        backup_command.run(project)
    assert not [path for path in (lived_in / "backups").iterdir() if path.name != "report"]


def test_what_one_that_was_killed_left_is_removed_by_the_next(project, lived_in):
    left = lived_in / "backups/.making-1"
    left.mkdir(parents=True)
    backup_command.run(project)
    assert not left.exists()


def test_artifacts_in_a_bucket_stay_there(project, lived_in, monkeypatch, capsys):
    monkeypatch.setenv("MLFLOW_ARTIFACTS_DESTINATION", "s3://bucket/prefix")
    line = b'{"name": "1/a", "size": 3, "etag": "x"}\n'
    monkeypatch.setattr(object_store, "write_list", lambda where, engine, into: into.write(line))
    backup_command.run(project)
    [folder] = made(lived_in)
    assert not (folder / "artifacts.tar").exists()
    assert archive.checked(folder).destination == "s3://bucket/prefix"
    assert object_store.read_list(folder / "artifacts.list") == {"1/a": (3, "x")}
    assert "1 artifacts stay in s3://bucket/prefix" in capsys.readouterr().out


def test_what_is_kept_elsewhere_than_in_s3_stays_there_unlisted(
    project, lived_in, monkeypatch, capsys
):
    monkeypatch.setenv("MLFLOW_ARTIFACTS_DESTINATION", "r2://bucket@account/prefix")
    backup_command.run(project)
    [folder] = made(lived_in)
    assert not list(folder.glob("artifacts.*"))
    assert "artifacts stay in r2://bucket@account/prefix" in capsys.readouterr().out


def of(chosen, **values):
    told = {
        "project": "x", "made_at": "", "engine": "docker",
        "versions": backup_create.versions(chosen),
        "fernet": checksums.fingerprint(chosen["AIRFLOW_FERNET_KEY"]),
        "destination": "/mlflow_data",
        "tables": {}, "artifacts": {},
    }  # fmt: skip
    return archive.Manifest(**{**told, **values})


def test_one_of_older_software_fits_one_of_newer_does_not(lived_in):
    chosen = Project(lived_in, {}).settings()
    backup_create.fit(of(chosen, versions={"airflow": "2.10.5", "mlflow": "3.1"}), chosen)
    with pytest.raises(StackError, match=r"of mlflow 3\.18\.0, here is 3\.17\.2"):
        backup_create.fit(of(chosen, versions={"airflow": "3.0.1", "mlflow": "3.18.0"}), chosen)


def test_one_that_was_locked_with_other_keys_does_not_fit(lived_in):
    chosen = Project(lived_in, {}).settings()
    with pytest.raises(StackError, match="Nothing was changed") as refused:
        backup_create.fit(of(chosen, fernet="0" * 16), chosen)
    assert "--keys" in str(refused.value)
    assert chosen["AIRFLOW_FERNET_KEY"] not in str(refused.value)


def test_after_a_rotation_an_older_one_still_fits(lived_in):
    chosen = Project(lived_in, {}).settings()
    old = of(chosen)
    key = chosen["AIRFLOW_FERNET_KEY"]
    assert backup_create.known_keys(old, f"new,{key}")
    assert backup_create.known_keys(
        of(chosen, fernet=backup_create.fingerprints(f"new,{key}")), f"new,{key}"
    )
    assert not backup_create.known_keys(old, "new")


def test_one_whose_artifacts_are_in_another_bucket_does_not_fit(lived_in):
    chosen = Project(lived_in, {}).settings()
    with pytest.raises(StackError, match=r"artifacts are in s3://theirs, .* in /mlflow_data"):
        backup_create.fit(of(chosen, destination="s3://theirs"), chosen)
    backup_create.fit(of(chosen, destination="/elsewhere", artifacts={"rows": 1}), chosen)


@pytest.mark.parametrize(("destination", "carried"), [
    ("/mlflow_data", True), ("file:///mlflow_data/a", True), ("s3://bucket/a", False),
])  # fmt: skip
def test_what_is_in_a_folder_is_carried_and_what_is_in_a_bucket_stays(destination, carried):
    assert backup_create.carried(destination) is carried


def test_the_passphrase_s_file_is_seen_from_where_env_is(project, lived_in, monkeypatch, tmp_path):
    (lived_in / "phrase").write_text("correct horse battery\n")
    monkeypatch.setenv("BACKUP_PASSPHRASE_FILE", "phrase")
    monkeypatch.chdir(tmp_path)
    assert backup_create.passphrase(project.settings(), "") == "correct horse battery"
