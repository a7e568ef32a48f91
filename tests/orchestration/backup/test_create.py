"""`inv backup` with a fake engine: contents, retention, clean-up and compatibility checks."""

import json
import re
import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from orchestration import checksums
from orchestration.backup import archive, keyfile
from orchestration.backup import create as backup_create
from orchestration.clients import artifact_folder, object_store
from orchestration.commands import backup as backup_command
from orchestration.errors import StackError
from orchestration.project import Project


def backups(clone):
    return archive.list_backups(clone / "backups")


def report(clone):
    return json.loads((clone / "backups/report/report.json").read_text())


def test_backup_contains_databases_artifacts_and_dags(project, lived_in, capsys):
    backup_command.run(project)
    [folder] = backups(lived_in)
    assert {path.name for path in folder.iterdir()} == {
        "airflow.dump", "mlflow.dump", "mlflow_auth.dump", "artifacts.tar", "dags.tar",
        "manifest.json",
    }  # fmt: skip
    manifest = archive.verify(folder)
    assert manifest.tables["airflow"]["of_airflow"]["rows"] == 2
    assert manifest.artifacts["rows"] == 1
    assert manifest.versions == {"airflow": "3.0.1", "mlflow": "3.17.2", "postgres": "16.14"}
    assert set(archive.contents(folder / "dags.tar")) == {
        "dags/mine.py", "install/requirements.txt", "install/requirements.lock",
    }  # fmt: skip
    output = capsys.readouterr().out
    assert re.search(r"6 rows, 1 artifact files, 0 MiB, in \d+ s", output)
    assert "The keys in .env were not saved" in output


def test_backup_without_mlflow_accounts_contains_an_empty_database(project, lived_in, engine):
    Path(engine.databases, "mlflow_auth").unlink()
    backup_command.run(project)
    [folder] = backups(lived_in)
    assert archive.verify(folder).tables["mlflow_auth"] == {
        "(sequences)": {"rows": 0, "digest": "0" * 32}
    }


def test_backup_writes_a_report_that_others_may_read(project, lived_in):
    backup_command.run(project)
    [folder] = backups(lived_in)
    assert report(lived_in)["verified"] is True
    assert report(lived_in)["made_at"] == archive.verify(folder).made_at
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert stat.S_IMODE((lived_in / "backups/report/report.json").stat().st_mode) == 0o644


@pytest.mark.parametrize("by_setting", [True, False])
def test_backup_with_passphrase_encrypts_env_next_to_it(
    project, lived_in, tmp_path, monkeypatch, by_setting, capsys
):
    phrase = tmp_path / "phrase"
    phrase.write_text("correct horse battery\n")
    if by_setting:
        monkeypatch.setenv("BACKUP_PASSPHRASE_FILE", str(phrase))
    backup_command.run(project, passphrase_file="" if by_setting else str(phrase))
    [folder] = backups(lived_in)
    file = folder.with_name(f"{folder.name}.keys.age")
    assert keyfile.decrypt(file, "correct horse battery") == (lived_in / ".env").read_text()
    assert "were not saved" not in capsys.readouterr().out


def test_backup_keeps_only_the_newest_and_their_keys(project, lived_in):
    for day in ("20200101", "20200102", "20200103"):
        folder = lived_in / f"backups/{day}T000000Z"
        folder.mkdir(parents=True)
        (folder / "manifest.json").write_text("{}")
        folder.with_name(f"{folder.name}.keys.age").write_text("x")
    backup_command.run(project, keep="2")
    assert len(backups(lived_in)) == 2
    remaining = sorted(path.name for path in (lived_in / "backups").glob("2020*"))
    assert remaining == ["20200103T000000Z", "20200103T000000Z.keys.age"]


@pytest.mark.parametrize("keep", ["0", "many", "-1"])
def test_backup_with_invalid_keep_is_rejected(project, keep):
    with pytest.raises(StackError, match=f"--keep {keep} is not a number of backups"):
        backup_command.run(project, keep=keep)


def test_backup_of_stopped_stack_suggests_inv_up(project, lived_in, engine):
    engine.ps_result = []
    with pytest.raises(StackError, match="inv up"):
        backup_command.run(project)


def test_failed_backup_leaves_only_its_report(project, lived_in, engine):
    Path(engine.databases, "airflow").unlink()
    with pytest.raises(StackError, match="pg_dump"):
        backup_command.run(project)
    assert [path.name for path in (lived_in / "backups").iterdir()] == ["report"]
    result = report(lived_in)
    assert not result["verified"]
    assert result["detail"].startswith("backup failed: ")
    assert datetime.now(UTC) - datetime.fromisoformat(result["made_at"]) < timedelta(minutes=5)


def test_backup_removes_the_remains_of_a_killed_one(project, lived_in):
    remains = lived_in / "backups/.making-1"
    remains.mkdir(parents=True)
    backup_command.run(project)
    assert not remains.exists()


def test_backup_lists_artifacts_in_an_s3_bucket(project, lived_in, monkeypatch, capsys):
    monkeypatch.setenv("MLFLOW_ARTIFACTS_DESTINATION", "s3://bucket/prefix")
    line = b'{"name": "1/a", "size": 3, "etag": "x"}\n'
    monkeypatch.setattr(object_store, "write_list", lambda where, engine, into: into.write(line))
    backup_command.run(project)
    [folder] = backups(lived_in)
    assert not (folder / "artifacts.tar").exists()
    assert archive.verify(folder).destination == "s3://bucket/prefix"
    assert object_store.read_list(folder / "artifacts.list") == {"1/a": (3, "x")}
    assert "1 artifacts stay in s3://bucket/prefix" in capsys.readouterr().out


def test_backup_does_not_list_artifacts_in_other_stores(project, lived_in, monkeypatch, capsys):
    monkeypatch.setenv("MLFLOW_ARTIFACTS_DESTINATION", "r2://bucket@account/prefix")
    backup_command.run(project)
    [folder] = backups(lived_in)
    assert not list(folder.glob("artifacts.*"))
    assert "artifacts stay in r2://bucket@account/prefix" in capsys.readouterr().out


def manifest(settings, **values):
    defaults = {
        "project": "x", "made_at": "", "engine": "docker",
        "versions": backup_create.versions(settings),
        "fernet": checksums.fingerprint(settings["AIRFLOW_FERNET_KEY"]),
        "destination": "/mlflow_data",
        "tables": {}, "artifacts": {},
    }  # fmt: skip
    return archive.Manifest(**{**defaults, **values})


def test_backup_of_older_software_is_compatible_and_newer_is_not(lived_in):
    settings = Project(lived_in, {}).settings()
    older, newer = {"airflow": "2.10.5", "mlflow": "3.1"}, {"airflow": "3.0.1", "mlflow": "3.18.0"}
    backup_create.check_compatible(manifest(settings, versions=older), settings)
    with pytest.raises(StackError, match=r"mlflow 3\.18\.0\. This stack has 3\.17\.2\."):
        backup_create.check_compatible(manifest(settings, versions=newer), settings)


def test_backup_with_other_keys_is_incompatible(lived_in):
    settings = Project(lived_in, {}).settings()
    with pytest.raises(StackError, match="Nothing was changed") as raised:
        backup_create.check_compatible(manifest(settings, fernet="0" * 16), settings)
    assert "--keys" in str(raised.value)
    assert settings["AIRFLOW_FERNET_KEY"] not in str(raised.value)


def test_keys_match_after_rotation_if_old_key_is_kept(lived_in):
    settings = Project(lived_in, {}).settings()
    old = manifest(settings)
    key = settings["AIRFLOW_FERNET_KEY"]
    assert backup_create.keys_match(old, f"new,{key}")
    both = manifest(settings, fernet=backup_create.fingerprints(f"new,{key}"))
    assert backup_create.keys_match(both, f"new,{key}")
    assert not backup_create.keys_match(old, "new")


def test_backup_of_another_bucket_is_incompatible(lived_in):
    settings = Project(lived_in, {}).settings()
    with pytest.raises(StackError, match=r"artifacts are in s3://theirs\. .* uses /mlflow_data"):
        backup_create.check_compatible(manifest(settings, destination="s3://theirs"), settings)
    with_artifacts = manifest(settings, destination="/elsewhere", artifacts={"rows": 1})
    backup_create.check_compatible(with_artifacts, settings)


@pytest.mark.parametrize(("destination", "included"), [
    ("/mlflow_data", True), ("file:///mlflow_data/a", True), ("s3://bucket/a", False),
])  # fmt: skip
def test_backup_includes_artifacts_of_folders_only(destination, included):
    assert artifact_folder.is_used(destination) is included


def test_passphrase_file_is_relative_to_env(project, lived_in, monkeypatch, tmp_path):
    (lived_in / "phrase").write_text("correct horse battery\n")
    monkeypatch.setenv("BACKUP_PASSPHRASE_FILE", "phrase")
    monkeypatch.chdir(tmp_path)
    assert backup_create.passphrase(project.settings(), "") == "correct horse battery"
