"""Back up, restore and drill artifacts with the names that MLflow accepts, and undo failures."""

import os
import shutil
from pathlib import Path

import pytest

from orchestration import pending
from orchestration.backup import archive, restore
from orchestration.clients import accounts
from orchestration.commands import backup as backup_command
from orchestration.commands import restore as restore_command
from orchestration.errors import StackError
from orchestration.health import canary
from tests.support.artifact_names import NAMES, plant, tree


@pytest.fixture(autouse=True)
def starting(monkeypatch):
    """Services start at once, with the passwords of .env."""
    monkeypatch.setattr(restore, "start", lambda settings, engine, **options: None)
    monkeypatch.setattr(canary, "run", lambda airflow: "well")
    monkeypatch.setattr(accounts, "sync_airflow_password", lambda settings, engine: False)
    monkeypatch.setattr(accounts, "sync_admin_password", lambda settings, engine: False)
    monkeypatch.setattr(restore_command.lifecycle, "prepare_start", working)


def working(project):
    return restore_command.lifecycle.working_engine(project)


@pytest.fixture
def artifacts(lived_in, engine):
    """The folder of MLflow's artifacts, with every name of the table."""
    folder = Path(engine.command_environments["mlflow"]["MLFLOW_ARTIFACTS_DESTINATION"])
    plant(folder)
    return folder


@pytest.fixture
def backup(project, artifacts, lived_in):
    backup_command.run(project)
    [folder] = archive.list_backups(lived_in / "backups")
    return folder


def empty(folder):
    shutil.rmtree(folder)
    folder.mkdir()


def test_restore_onto_empty_stack_brings_back_any_name(project, backup, artifacts):
    before = tree(artifacts)
    assert archive.verify(backup).artifacts["rows"] > 2 * len(NAMES)
    empty(artifacts)
    restore_command.run(project, str(backup), yes=True)
    assert tree(artifacts) == before


def test_restore_of_backup_by_gnu_tar_brings_back_any_name(
    project, backup, artifacts, lived_in, monkeypatch
):
    """Older versions of this stack used `tar`, which also stores hard links and pipes."""
    before = tree(artifacts)
    manifest = archive.verify(backup)
    os.mkfifo(artifacts / "1/pipe")
    shutil.os.system(f"tar -C {artifacts} -cf {backup}/artifacts.tar .")
    archive.write_manifest(backup, manifest)
    empty(artifacts)
    restore_command.run(project, str(backup), yes=True)
    assert tree(artifacts) == before


@pytest.mark.parametrize("error", [StackError("the canary failed"), KeyboardInterrupt()])
def test_failed_restore_leaves_no_artifact_behind(project, backup, artifacts, monkeypatch, error):
    empty(artifacts)
    (artifacts / "1").mkdir()
    (artifacts / "1/back\\slash").write_text("current")
    before = tree(artifacts)

    def fail(airflow):
        assert b"2/hard link" in tree(artifacts)
        raise error

    monkeypatch.setattr(canary, "run", fail)
    with pytest.raises(type(error)):
        restore_command.run(project, str(backup), yes=True)
    assert tree(artifacts) == before


def test_killed_restore_is_undone_by_the_next_start(
    project, backup, artifacts, engine, monkeypatch
):
    empty(artifacts)

    def die(*arguments, **options):
        raise SystemExit

    with monkeypatch.context() as patched:
        patched.setattr(restore, "start", die)
        patched.setattr(pending, "roll_back", lambda settings, engine: None)
        with pytest.raises(SystemExit):
            restore_command.run(project, str(backup), yes=True)
    assert tree(artifacts)
    pending.roll_back(project.settings(), engine)
    assert tree(artifacts) == {}


def test_restore_of_lost_artifact_fails_before_the_switch(project, backup, artifacts, monkeypatch):
    """The disk of this machine may not store every name."""
    before = tree(artifacts)
    stage = restore.restore_artifacts.artifact_folder.stage

    def stage_without_one(engine, tar):
        staged = stage(engine, tar)
        del staged["1/\udcff\udcfe not UTF-8"]
        return staged

    monkeypatch.setattr(restore.restore_artifacts.artifact_folder, "stage", stage_without_one)
    with pytest.raises(StackError, match=r"1 artifacts are not .* among them .*udcff") as raised:
        restore_command.run(project, str(backup), yes=True)
    assert str(raised.value).isascii()
    assert tree(artifacts) == before


def test_backup_of_what_cannot_be_restored_fails(project, artifacts, lived_in):
    os.mkfifo(artifacts / "1/pipe")
    with pytest.raises(StackError) as raised:
        backup_command.run(project)
    path = f"{artifacts}/1/pipe"
    assert str(raised.value) == (
        f"The artifact '1/pipe' is neither a file nor a folder.\nRun: rm '{path}'"
    )
    assert not archive.list_backups(lived_in / "backups")


def test_restore_of_files_into_a_bucket_is_refused(project, backup, monkeypatch):
    monkeypatch.setenv("MLFLOW_ARTIFACTS_DESTINATION", "s3://bucket/prefix")
    with pytest.raises(StackError, match=r"are in /mlflow_data\. This stack uses s3://bucket"):
        restore_command.run(project, str(backup), yes=True)
