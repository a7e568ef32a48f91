"""A backup's folder: what is whole is taken, and everything else refused before it is touched."""

import json
import tarfile

import pytest

from orchestration import checksums
from orchestration.backup import archive
from orchestration.backup.archive import MANIFEST, Manifest
from orchestration.errors import StackError

MADE = "2026-11-26T20:00:00+00:00"


def manifest(**values):
    told = {
        "project": "clone-1", "made_at": MADE, "engine": "docker", "versions": {"airflow": "3.0.1"},
        "fernet": "0" * 16, "destination": "/mlflow_data",
        "tables": {"airflow": {"dag_run": {"rows": 1, "digest": "0"}}}, "artifacts": {},
    }  # fmt: skip
    return Manifest(**{**told, **values})


@pytest.fixture
def whole(tmp_path):
    folder = tmp_path / "20261126T200000Z"
    folder.mkdir()
    (folder / "airflow.dump").write_bytes(b"PGDMP" * 100)
    (folder / "artifacts.tar").write_bytes(b"tar" * 100)
    archive.write_manifest(folder, manifest())
    return folder


def rewrite(folder, change, *, sealed):
    """Change the manifest, and its own hash with it where `sealed`."""
    told = json.loads((folder / MANIFEST).read_text())
    change(told)
    if sealed:
        told["sha256"] = archive._hash_of({k: v for k, v in told.items() if k != "sha256"})
    (folder / MANIFEST).write_text(json.dumps(told))


def test_what_is_whole_tells_what_it_holds(whole):
    found = archive.checked(whole)
    assert (found.made_at, found.format) == (MADE, archive.FORMAT)
    assert found.tables == manifest().tables
    assert set(found.files) == {"airflow.dump", "artifacts.tar"}


def cut(folder):
    (folder / "airflow.dump").write_bytes(b"PGDMP" * 99)


def emptied(folder):
    (folder / "airflow.dump").write_bytes(b"")


def longer(folder):
    with (folder / "artifacts.tar").open("ab") as file:
        file.write(b"more")


def one_bit(folder):
    data = bytearray((folder / "artifacts.tar").read_bytes())
    data[17] ^= 1
    (folder / "artifacts.tar").write_bytes(bytes(data))


def swapped(folder):
    names = ("airflow.dump", "artifacts.tar")
    data = [(folder / name).read_bytes() for name in names]
    for name, other in zip(names, reversed(data), strict=True):
        (folder / name).write_bytes(other)


def without_a_part(folder):
    (folder / "airflow.dump").unlink()


def without_a_manifest(folder):
    (folder / MANIFEST).unlink()


def manifest_cut(folder):
    text = (folder / MANIFEST).read_text()
    (folder / MANIFEST).write_text(text[: len(text) // 2])


def manifest_of_another_program(folder):
    (folder / MANIFEST).write_text('{"name": "extension", "version": 3}')


def manifest_that_is_a_list(folder):
    (folder / MANIFEST).write_text("[1, 2]")


def a_count_changed(folder):
    def change(told):
        told["tables"]["airflow"]["dag_run"]["rows"] = 2

    rewrite(folder, change, sealed=False)


def a_part_forgotten(folder):
    rewrite(folder, lambda told: told["files"].pop("airflow.dump"), sealed=False)


def newer(folder):
    rewrite(folder, lambda told: told.update(format=archive.FORMAT + 1), sealed=True)


def with_keys_of_its_own(folder):
    rewrite(folder, lambda told: told.update(more=1), sealed=True)


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (cut, "airflow.dump has 495 bytes instead of 500: it was cut"),
        (emptied, "airflow.dump has 0 bytes"),
        (longer, "artifacts.tar has 304 bytes"),
        (one_bit, "artifacts.tar was altered"),
        (swapped, "airflow.dump has 300 bytes"),
        (without_a_part, "airflow.dump is missing"),
        (without_a_manifest, "is no backup of this stack"),
        (manifest_cut, "manifest.json cannot be read"),
        (manifest_of_another_program, "is no backup of this stack"),
        (manifest_that_is_a_list, "is no backup of this stack"),
        (a_count_changed, "manifest.json was altered"),
        (a_part_forgotten, "manifest.json was altered"),
        (newer, "was made by a newer stack: git pull"),
        (with_keys_of_its_own, "manifest.json was altered"),
    ],
)
def test_what_is_not_whole_is_refused_with_its_reason(whole, spoil, told):
    spoil(whole)
    with pytest.raises(StackError) as refused:
        archive.checked(whole)
    assert told in str(refused.value)


def test_the_newest_is_found_by_its_name_and_what_is_unfinished_is_none(whole):
    later = whole.with_name("20261127T030000Z")
    later.mkdir()
    assert archive.newest(whole.parent) == whole
    archive.write_manifest(later, manifest())
    unfinished = whole.with_name(".making-7")
    unfinished.mkdir()
    archive.write_manifest(unfinished, manifest())
    assert archive.all_of(whole.parent) == [whole, later]


def test_without_any_the_next_command_is_told(tmp_path):
    with pytest.raises(StackError, match="inv backup"):
        archive.newest(tmp_path)


def test_a_digest_does_not_depend_on_the_order_but_on_every_line():
    lines = [b"1\ta", b"2\tb", b"2\tb"]
    assert checksums.digest(lines) == checksums.digest(lines[::-1])
    assert checksums.digest(lines)["rows"] == 3
    changed = ([b"1\ta", b"2\tb"], [b"1\ta", b"2\tb", b"2\tc"], [b"1\ta", b"1\ta", b"2\tb"])
    assert all(checksums.digest(other) != checksums.digest(lines) for other in changed)


def test_a_tree_is_packed_and_told_by_path_and_contents(tmp_path):
    (tmp_path / "one").write_text("1")
    archive.pack(tmp_path / "tree.tar", {"a/one": tmp_path / "one"})
    found = archive.contents(tmp_path / "tree.tar")
    assert found == {"a/one": checksums.sha256_of(tmp_path / "one")}
    archive.unpack(tmp_path / "tree.tar", tmp_path / "there", ["a/one"])
    assert (tmp_path / "there/a/one").read_text() == "1"


def test_a_tree_that_was_cut_is_an_error(tmp_path):
    (tmp_path / "big").write_bytes(b"x" * 100_000)
    archive.pack(tmp_path / "tree.tar", {"big": tmp_path / "big"})
    data = (tmp_path / "tree.tar").read_bytes()
    (tmp_path / "tree.tar").write_bytes(data[:50_000])
    with pytest.raises(StackError, match=r"tree\.tar cannot be read"):
        archive.contents(tmp_path / "tree.tar")


def test_nothing_is_put_outside_the_folder(tmp_path):
    (tmp_path / "one").write_text("1")
    with tarfile.open(tmp_path / "evil.tar", "w") as tree:
        tree.add(tmp_path / "one", "../outside")
    with pytest.raises(StackError, match="which is no file of"):
        archive.unpack(tmp_path / "evil.tar", tmp_path / "there", ["../outside"])


def test_a_fingerprint_tells_secrets_apart_and_gives_nothing_away():
    made = checksums.fingerprint("one")
    assert made == checksums.fingerprint("one") != checksums.fingerprint("two")
    assert "one" not in made
