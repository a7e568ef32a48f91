"""Test that `inv restore` of a wrong path names the backups that exist."""

import pytest

from orchestration.commands import restore
from orchestration.errors import StackError


@pytest.fixture
def backups(clone, monkeypatch):
    """Return the folder with two backups; the user is in the clone."""
    folder = clone / "backups"
    for name in ("2026-01-01T00-00-00Z", "2026-02-01T00-00-00Z"):
        (folder / name).mkdir(parents=True)
        (folder / name / "manifest.json").write_text("{}")
    monkeypatch.chdir(clone)
    return folder


@pytest.mark.parametrize(
    ("path", "next_step"),
    [
        ("2026-01-01T00-00-00Z", "inv restore backups/2026-01-01T00-00-00Z"),
        ("backup/2026-01-01T00-00-00Z", "inv restore backups/2026-01-01T00-00-00Z"),
        ("nonsense", "inv restore backups/2026-02-01T00-00-00Z"),
        ("backups", "inv restore backups/2026-02-01T00-00-00Z"),
        ("", "inv restore backups/2026-02-01T00-00-00Z"),
    ],
)
def test_wrong_path_suggests_a_backup_that_exists(project, backups, path, next_step):
    with pytest.raises(StackError, match=r"backups/\. Nothing was changed") as error:
        restore.run(project, path, yes=True)
    assert str(error.value).splitlines()[-1] == f"Run: {next_step}"


def test_file_instead_of_a_backup_is_refused(project, backups, clone):
    (clone / "saved.tar").write_text("")
    with pytest.raises(StackError, match=r"^saved\.tar is not a backup\."):
        restore.run(project, "saved.tar", yes=True)


def test_without_backups_the_next_step_is_to_make_one(project, clone, monkeypatch):
    monkeypatch.chdir(clone)
    with pytest.raises(StackError, match=r"backups/ contains no backup\.\nRun: inv backup$"):
        restore.run(project, "nonsense", yes=True)
