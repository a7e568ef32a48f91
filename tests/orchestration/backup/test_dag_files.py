"""Back up and restore `dags/` and `include/`, also if they are links or contain some."""

import os

import pytest

from orchestration.backup import archive, dag_files
from orchestration.errors import StackError


@pytest.fixture
def settings(lived_in, project):
    return project.settings()


@pytest.fixture
def elsewhere(tmp_path):
    """A folder outside of the clone."""
    folder = tmp_path / "elsewhere"
    (folder / "deep").mkdir(parents=True)
    (folder / "deep/shared.py").write_text("# shared")
    return folder


def packed(settings, tmp_path):
    dag_files.pack(settings, tmp_path)
    return set(archive.contents(tmp_path / "dags.tar"))


def test_backup_follows_link_to_dags_folder(settings, elsewhere, tmp_path):
    dags = settings.project_dir / "dags"
    (dags / "mine.py").unlink()
    dags.rmdir()
    dags.symlink_to(elsewhere)
    assert "dags/deep/shared.py" in packed(settings, tmp_path)
    (elsewhere / "deep/shared.py").write_text("# changed")
    dag_files.restore(tmp_path, settings, overwrite=True)
    assert (elsewhere / "deep/shared.py").read_text() == "# shared"
    assert dags.is_symlink()


def test_backup_follows_links_below_dags_and_ignores_loops(settings, elsewhere, tmp_path):
    dags = settings.project_dir / "dags"
    (dags / "linked").symlink_to(elsewhere)
    (dags / "file.py").symlink_to(elsewhere / "deep/shared.py")
    (dags / "up").symlink_to("..")
    (elsewhere / "back").symlink_to(dags)
    # Emacs marks an open file with such a link.
    (dags / ".#mine.py").symlink_to("user@host.1234")
    assert packed(settings, tmp_path) == {
        "dags/mine.py", "dags/linked/deep/shared.py", "dags/file.py",
        "install/requirements.txt", "install/requirements.lock",
    }  # fmt: skip


def test_restore_replaces_links_and_leaves_their_targets_alone(settings, elsewhere, tmp_path):
    dags = settings.project_dir / "dags"
    (dags / "linked").symlink_to(elsewhere)
    (dags / "file.py").symlink_to(elsewhere / "deep/shared.py")
    dag_files.pack(settings, tmp_path)
    (elsewhere / "deep/shared.py").write_text("# changed")
    (elsewhere / "later.py").write_text("# later")
    dag_files.restore(tmp_path, settings, overwrite=True)
    assert (dags / "linked/deep/shared.py").read_text() == "# shared"
    assert (dags / "file.py").read_text() == "# shared"
    assert not (dags / "linked/later.py").exists()
    assert (elsewhere / "deep/shared.py").read_text() == "# changed"
    assert (elsewhere / "later.py").exists()
    [previous] = settings.project_dir.glob("dags.before-*")
    assert (previous / "linked/later.py").read_text() == "# later"


def test_include_folder_is_backed_up_and_restored(settings, tmp_path, capsys):
    include = settings.project_dir / "include"
    include.mkdir()
    (include / "helper.py").write_text("# helper")
    (include / "__pycache__").mkdir()
    (include / "__pycache__/helper.pyc").write_text("x")
    assert "include/helper.py" in packed(settings, tmp_path)
    assert not [name for name in packed(settings, tmp_path) if "pycache" in name]
    (include / "helper.py").write_text("# changed")
    dag_files.restore(tmp_path, settings, overwrite=False)
    assert "differ from the backup: include/helper.py" in capsys.readouterr().out
    dag_files.restore(tmp_path, settings, overwrite=True)
    assert (include / "helper.py").read_text() == "# helper"
    [previous] = settings.project_dir.glob("include.before-*")
    assert (previous / "helper.py").read_text() == "# changed"


def test_restore_of_backup_without_include_leaves_it_alone(settings, tmp_path):
    dag_files.pack(settings, tmp_path)
    include = settings.project_dir / "include"
    include.mkdir()
    (include / "helper.py").write_text("# helper")
    (settings.project_dir / "dags/mine.py").write_text("# changed")
    dag_files.restore(tmp_path, settings, overwrite=True)
    assert (include / "helper.py").exists()
    assert (settings.project_dir / "dags/mine.py").read_text() == "# a DAG\n"


def test_dag_files_of_any_name_come_back(settings, tmp_path, capsys):
    dags = os.fsencode(settings.project_dir / "dags")
    names = (b"a\\b.py", b"a\nb.py", b"\xff.py", b"-rf.py")
    for name in names:
        with open(os.path.join(dags, name), "wb") as file:
            file.write(name)
    dag_files.pack(settings, tmp_path)
    for name in names:
        os.unlink(os.path.join(dags, name))
    dag_files.restore(tmp_path, settings, overwrite=False)
    assert "'\\udcff.py'" in capsys.readouterr().out
    dag_files.restore(tmp_path, settings, overwrite=True)
    assert set(names) <= set(os.listdir(dags))


def test_backup_with_unreadable_dag_file_fails(settings, tmp_path, monkeypatch):
    def refuse(self, path, name, **options):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(archive.tarfile.TarFile, "add", refuse)
    with pytest.raises(StackError, match=r"mine\.py cannot be read: .*denied\.\nRun: chmod u\+r"):
        dag_files.pack(settings, tmp_path)


def test_backup_with_unreadable_dag_folder_fails(settings, monkeypatch):
    def refuse(root, onerror, **options):
        onerror(PermissionError(13, "Permission denied", "dags/closed"))

    monkeypatch.setattr(dag_files.os, "walk", refuse)
    with pytest.raises(StackError, match="dags/closed cannot be read"):
        dag_files.files(settings.project_dir)
