"""Pack and restore a folder of artifacts: any name, links, conflicts, undo at any point."""

import io
import os
import shutil
import tarfile
from contextlib import suppress
from pathlib import Path

import hypothesis
import pytest
from hypothesis import strategies as st

from orchestration.backup import archive
from tests.support.artifact_names import NAMES, plant, tree

PARTS = st.binary(min_size=1, max_size=255).filter(
    lambda part: (
        not {b"/", b"\0"} & {part[i : i + 1] for i in range(len(part))}
        and part not in (b".", b"..", b".restoring")
    )
)


@pytest.fixture
def artifact_folder(script):
    return script("mlflow.artifact_folder")


@pytest.fixture
def restore_artifacts(script, artifact_folder):
    return script("mlflow.restore_artifacts")


@pytest.fixture
def old(tmp_path):
    """The folder that is backed up."""
    folder = tmp_path / "old"
    plant(folder)
    return folder


@pytest.fixture
def new(tmp_path):
    """The folder that it is restored into."""
    folder = tmp_path / "new"
    folder.mkdir()
    return folder


@pytest.fixture
def packed(artifact_folder):
    """Return a function that packs a folder and returns the tar file as a stream."""

    def pack(folder):
        stream = io.BytesIO()
        artifact_folder.pack(os.fsencode(folder), stream)
        stream.seek(0)
        return stream

    return pack


@pytest.fixture
def restore(restore_artifacts, packed):
    """Return a function that stages one folder in another one and returns the restore."""

    def stage(old, new):
        restore = restore_artifacts.Restore(os.fsencode(new))
        list(restore.stage(packed(old)))
        return restore

    return stage


def run(restore):
    restore.place()
    restore.finish()


def test_restore_into_empty_folder_brings_everything_back(old, new, restore):
    run(restore(old, new))
    assert tree(new) == tree(old)


def test_stage_reports_what_the_backup_tool_reads_in_the_tar_file(
    old, new, packed, restore_artifacts, tmp_path
):
    (tmp_path / "artifacts.tar").write_bytes(packed(old).getvalue())
    staged = dict(restore_artifacts.Restore(os.fsencode(new)).stage(packed(old)))
    contents = archive.contents(tmp_path / "artifacts.tar")
    assert {n.encode("utf-8", "surrogateescape"): v for n, v in contents.items()} == staged
    assert len(staged) == len(tree(old))


def test_stage_changes_nothing_that_mlflow_uses(old, new, restore):
    restore(old, new)
    assert [path.name for path in new.iterdir()] == [".restoring"]


@hypothesis.settings(
    max_examples=60,
    deadline=None,
    derandomize=bool(os.environ.get("CI")),
    database=None,
    suppress_health_check=[hypothesis.HealthCheck.function_scoped_fixture],
)
@hypothesis.given(names=st.lists(st.lists(PARTS, min_size=1, max_size=4).map(b"/".join)))
def test_restore_any_names_brings_them_back(names, restore, tmp_path):
    old, new = tmp_path / "any old", tmp_path / "any new"
    for folder in (old, new):
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
    for number, name in enumerate(names):
        path = os.path.join(os.fsencode(old), name)
        try:
            os.makedirs(os.path.dirname(path), exist_ok=True)
            with open(path, "wb") as file:
                file.write(b"%d" % number)
        except OSError:
            # Another name uses this one as a folder or a file.
            continue
    run(restore(old, new))
    assert tree(new) == tree(old)


def test_restore_keeps_previous_version_of_each_name(old, new, restore):
    plant(new)
    for name in NAMES:
        Path(os.fsdecode(os.fsencode(new) + b"/1/" + name)).write_bytes(b"changed " + name)
    run(restore(old, new))
    after = tree(new)
    assert {name: after[name] for name in tree(old)} == tree(old)
    kept = [value for name, value in after.items() if b".before-restore" in name]
    assert {b"changed " + name for name in NAMES} <= set(kept)


def test_restore_does_not_touch_what_is_unchanged(old, new, restore):
    shutil.copytree(old, new, symlinks=True, dirs_exist_ok=True)
    shutil.rmtree(new / "2/empty")
    before = {path: path.lstat().st_ino for path in new.rglob("*") if path.is_symlink()}
    files = {path: path.stat().st_ino for path in new.rglob("*") if path.is_file()}
    run(restore(old, new))
    assert tree(new) == tree(old)
    assert {path: path.lstat().st_ino for path in before} == before
    assert {path: path.stat().st_ino for path in files} == files


def test_stage_of_unchanged_file_takes_no_space(tmp_path, new, restore):
    for folder in (tmp_path / "old", new):
        (folder / "1").mkdir(parents=True)
        (folder / "1/big").write_bytes(b"x" * 100_000)
    restore(tmp_path / "old", new)
    assert (new / ".restoring/files/1/big").samefile(new / "1/big")


@pytest.fixture
def conflicts(tmp_path, new):
    """A backup, and a folder with other kinds of entries of the same names."""
    old = tmp_path / "conflicts"
    for folder in (old / "was folder", new / "was file", new / "linked"):
        folder.mkdir(parents=True)
        (folder / "inside").write_text(folder.name)
    (old / "was file").write_text("a file")
    (new / "was folder").write_text("a file")
    (old / "was link").write_text("a file")
    (new / "was link").symlink_to("linked/inside")
    (old / "linked").mkdir()
    (old / "linked/inside").write_text("other")
    (old / "was linked folder").mkdir()
    (old / "was linked folder/inside").write_text("inside")
    (new / "was linked folder").symlink_to("linked")
    (old / "same").write_text("same")
    (new / "same").write_text("same")
    return old


def test_restore_replaces_other_kinds_and_keeps_them(conflicts, new, restore):
    before = tree(new)
    run(restore(conflicts, new))
    after = tree(new)
    assert {name: after[name] for name in tree(conflicts)} == tree(conflicts)
    kept = {n.replace(b".before-restore", b""): v for n, v in after.items() if b".before-" in n}
    assert kept == {n: v for n, v in before.items() if n not in (b"same", b"linked")}


@pytest.mark.parametrize("undone", [0, 2, 5, 20])
@pytest.mark.parametrize("placed", range(18))
def test_undo_of_a_killed_restore_leaves_nothing(
    conflicts, new, restore, restore_artifacts, monkeypatch, placed, undone
):
    """`place` is killed at any point, then `undo` at any point, and `undo` runs again."""
    before = tree(new)
    started = restore(conflicts, new)

    class Killed(BaseException):
        pass

    def kill_after(calls):
        left = iter(range(calls))
        for name in ("rename", "mkdir", "rmdir"):
            original = getattr(os, name)

            def limited(*arguments, original=original, **options):
                if next(left, None) is None:
                    raise Killed
                return original(*arguments, **options)

            patched.setattr(restore_artifacts.os, name, limited)

    for step, calls in ((started.place, placed), (started.undo, undone)):
        with monkeypatch.context() as patched, suppress(Killed):
            kill_after(calls)
            step()
    started.undo()
    assert tree(new) == before


def test_undo_keeps_what_was_written_after_the_restore(old, new, restore):
    started = restore(old, new)
    started.place()
    (new / "1/folders/later").write_text("later")
    started.undo()
    assert tree(new) == {b"1": "folder", b"1/folders": "folder", b"1/folders/later": b"later"}


def test_stage_deletes_the_remains_of_an_earlier_restore(old, new, restore):
    restore(old, new).place()
    # Killed before `finish`.
    shutil.rmtree(old)
    (old / "3").mkdir(parents=True)
    restore(old, new).undo()
    assert b"1" in tree(new)
    assert not (new / ".restoring").exists()


def test_backup_contains_what_a_link_out_of_the_folder_points_to(tmp_path, new, restore):
    old, elsewhere = tmp_path / "old", tmp_path / "elsewhere"
    (elsewhere / "deep").mkdir(parents=True)
    (elsewhere / "deep/file").write_text("content")
    (elsewhere / "back").symlink_to(elsewhere)
    (elsewhere / "into").symlink_to(old)
    old.mkdir()
    (old / "absolute").symlink_to(elsewhere)
    (old / "relative").symlink_to("../elsewhere/deep/file")
    run(restore(old, new))
    restored = tree(new)
    assert restored[b"absolute/deep/file"] == restored[b"relative"] == b"content"
    # A folder that contains itself remains a link.
    assert restored[b"absolute/back"] == str(elsewhere)
    assert restored[b"absolute/into"] == str(old)
    # Restored again where the links are, they are the same.
    before = tree(old)
    run(restore(old, old))
    assert tree(old) == before


def test_pack_refuses_what_cannot_be_restored(old, packed, artifact_folder):
    os.mkfifo(old / "1/pipe")
    with pytest.raises(artifact_folder.Failure, match="'1/pipe' is neither a file nor a folder"):
        packed(old)
    (old / "1/pipe").unlink()
    deep = os.open(old / "1", os.O_RDONLY)
    for _ in range(19):
        os.mkdir("z" * 200, dir_fd=deep)
        deep = os.open("z" * 200, os.O_RDONLY, dir_fd=deep)
    with pytest.raises(artifact_folder.Failure, match="has a name of 3,820 bytes"):
        packed(old)


def test_pack_refuses_unreadable_file(old, packed, artifact_folder, monkeypatch):
    monkeypatch.setattr(artifact_folder.os, "access", lambda path, mode: b"back" not in path)
    with pytest.raises(artifact_folder.Failure, match=r"cannot be read") as raised:
        packed(old)
    assert raised.value.fix.startswith("chmod u+r")


def test_pack_of_a_folder_in_use_skips_deleted_and_pads_truncated_files(
    old, packed, artifact_folder, monkeypatch
):
    add = artifact_folder._add

    def add_later(tar, folder, name, kind):
        if name == b"1/-rf":
            (old / "1/-rf").unlink()
        add(tar, folder, name, kind)

    monkeypatch.setattr(artifact_folder, "_add", add_later)
    real = artifact_folder.os.fstat

    class Larger:
        def __init__(self, status):
            self.st_size = status.st_size + 3

    monkeypatch.setattr(artifact_folder.os, "fstat", lambda number: Larger(real(number)))
    with tarfile.open(fileobj=packed(old)) as tar:
        names = tar.getnames()
        content = tar.extractfile("1/back\\slash").read()
    assert "1/-rf" not in names
    assert content == b"0\0\0\0"


@pytest.mark.parametrize("name", ["../outside", "/outside", "link/outside", "1/../../outside"])
def test_stage_refuses_names_that_lead_out(name, new, restore_artifacts):
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as tar:
        link = tarfile.TarInfo("link")
        link.type, link.linkname = tarfile.SYMTYPE, str(new.parent)
        tar.addfile(link)
        tar.addfile(tarfile.TarInfo(name))
    stream.seek(0)
    restore = restore_artifacts.Restore(os.fsencode(new))
    with pytest.raises(restore_artifacts.Failure, match="leads out of the backup"):
        list(restore.stage(stream))
    restore.undo()
    assert not list(new.iterdir())
    assert not (new.parent / "outside").exists()


def test_failure_is_printed_as_json_with_any_name(artifact_folder, capsys):
    def fail():
        raise FileNotFoundError(2, "No such file", b"a\nb\xff")

    with pytest.raises(SystemExit) as raised:
        artifact_folder.run(fail)
    assert str(raised.value).isascii()
    assert "No such file" in str(raised.value)
