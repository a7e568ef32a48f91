"""The folder of a backup: complete ones are accepted, damaged ones are rejected."""

import json
import tarfile

import pytest

from orchestration import checksums
from orchestration.backup import archive
from orchestration.backup.archive import MANIFEST, Manifest
from orchestration.errors import StackError

MADE_AT = "2026-11-26T20:00:00+00:00"


def manifest(**values):
    defaults = {
        "project": "clone-1", "made_at": MADE_AT, "engine": "docker",
        "versions": {"airflow": "3.0.1"}, "fernet": "0" * 16, "destination": "/mlflow_data",
        "tables": {"airflow": {"dag_run": {"rows": 1, "digest": "0"}}}, "artifacts": {},
    }  # fmt: skip
    return Manifest(**{**defaults, **values})


@pytest.fixture
def backup(tmp_path):
    folder = tmp_path / "20261126T200000Z"
    folder.mkdir()
    (folder / "airflow.dump").write_bytes(b"PGDMP" * 100)
    (folder / "artifacts.tar").write_bytes(b"tar" * 100)
    archive.write_manifest(folder, manifest())
    return folder


def rewrite(folder, change, *, sealed):
    """Change the manifest. With `sealed`, change its own hash too."""
    document = json.loads((folder / MANIFEST).read_text())
    change(document)
    if sealed:
        document["sha256"] = archive._hash_of({k: v for k, v in document.items() if k != "sha256"})
    (folder / MANIFEST).write_text(json.dumps(document))


def test_verify_complete_backup_returns_its_manifest(backup):
    verified = archive.verify(backup)
    assert (verified.made_at, verified.format) == (MADE_AT, archive.FORMAT)
    assert verified.tables == manifest().tables
    assert set(verified.files) == {"airflow.dump", "artifacts.tar"}


def truncate(folder):
    (folder / "airflow.dump").write_bytes(b"PGDMP" * 99)


def empty(folder):
    (folder / "airflow.dump").write_bytes(b"")


def append(folder):
    with (folder / "artifacts.tar").open("ab") as file:
        file.write(b"more")


def flip_one_bit(folder):
    data = bytearray((folder / "artifacts.tar").read_bytes())
    data[17] ^= 1
    (folder / "artifacts.tar").write_bytes(bytes(data))


def swap_files(folder):
    names = ("airflow.dump", "artifacts.tar")
    data = [(folder / name).read_bytes() for name in names]
    for name, other in zip(names, reversed(data), strict=True):
        (folder / name).write_bytes(other)


def delete_file(folder):
    (folder / "airflow.dump").unlink()


def delete_manifest(folder):
    (folder / MANIFEST).unlink()


def truncate_manifest(folder):
    text = (folder / MANIFEST).read_text()
    (folder / MANIFEST).write_text(text[: len(text) // 2])


def use_manifest_of_another_program(folder):
    (folder / MANIFEST).write_text('{"name": "extension", "version": 3}')


def use_list_as_manifest(folder):
    (folder / MANIFEST).write_text("[1, 2]")


def change_row_count(folder):
    def change(document):
        document["tables"]["airflow"]["dag_run"]["rows"] = 2

    rewrite(folder, change, sealed=False)


def remove_file_entry(folder):
    rewrite(folder, lambda document: document["files"].pop("airflow.dump"), sealed=False)


def use_newer_format(folder):
    rewrite(folder, lambda document: document.update(format=archive.FORMAT + 1), sealed=True)


def add_unknown_field(folder):
    rewrite(folder, lambda document: document.update(more=1), sealed=True)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (truncate, "airflow.dump has 495 bytes instead of 500."),
        (empty, "airflow.dump has 0 bytes"),
        (append, "artifacts.tar has 304 bytes"),
        (flip_one_bit, "artifacts.tar was altered"),
        (swap_files, "airflow.dump has 300 bytes"),
        (delete_file, "airflow.dump is missing"),
        (delete_manifest, "is not a backup of this stack"),
        (truncate_manifest, "manifest.json cannot be read"),
        (use_manifest_of_another_program, "is not a backup of this stack"),
        (use_list_as_manifest, "is not a backup of this stack"),
        (change_row_count, "manifest.json was altered"),
        (remove_file_entry, "manifest.json was altered"),
        (use_newer_format, "was made by a newer stack.\nRun: git pull"),
        (add_unknown_field, "manifest.json was altered"),
    ],
)
def test_verify_damaged_backup_raises_the_reason(backup, damage, message):
    damage(backup)
    with pytest.raises(StackError) as raised:
        archive.verify(backup)
    assert message in str(raised.value)


def test_list_backups_sorts_by_name_and_skips_incomplete_ones(backup):
    later = backup.with_name("20261127T030000Z")
    later.mkdir()
    assert archive.newest(backup.parent) == backup
    archive.write_manifest(later, manifest())
    temporary = backup.with_name(".making-7")
    temporary.mkdir()
    archive.write_manifest(temporary, manifest())
    assert archive.list_backups(backup.parent) == [backup, later]


def test_newest_without_backups_suggests_inv_backup(tmp_path):
    with pytest.raises(StackError, match="inv backup"):
        archive.newest(tmp_path)


def test_digest_depends_on_every_line_but_not_on_their_order():
    lines = [b"1\ta", b"2\tb", b"2\tb"]
    assert checksums.digest(lines) == checksums.digest(lines[::-1])
    assert checksums.digest(lines)["rows"] == 3
    changed = ([b"1\ta", b"2\tb"], [b"1\ta", b"2\tb", b"2\tc"], [b"1\ta", b"1\ta", b"2\tb"])
    assert all(checksums.digest(other) != checksums.digest(lines) for other in changed)


def test_packed_files_are_hashed_and_unpacked_by_path(tmp_path):
    (tmp_path / "one").write_text("1")
    archive.pack(tmp_path / "dags.tar", {"a/one": tmp_path / "one"})
    hashes = archive.contents(tmp_path / "dags.tar")
    assert hashes == {"a/one": checksums.sha256_of(tmp_path / "one")}
    archive.unpack(tmp_path / "dags.tar", tmp_path / "folder", ["a/one"])
    assert (tmp_path / "folder/a/one").read_text() == "1"


def test_contents_of_truncated_tar_file_raises(tmp_path):
    (tmp_path / "big").write_bytes(b"x" * 100_000)
    archive.pack(tmp_path / "dags.tar", {"big": tmp_path / "big"})
    data = (tmp_path / "dags.tar").read_bytes()
    (tmp_path / "dags.tar").write_bytes(data[:50_000])
    with pytest.raises(StackError, match=r"dags\.tar cannot be read"):
        archive.contents(tmp_path / "dags.tar")


def test_unpack_rejects_paths_outside_the_folder(tmp_path):
    (tmp_path / "one").write_text("1")
    with tarfile.open(tmp_path / "evil.tar", "w") as tar:
        tar.add(tmp_path / "one", "../outside")
    with pytest.raises(StackError, match="which is not a file below"):
        archive.unpack(tmp_path / "evil.tar", tmp_path / "folder", ["../outside"])


def test_fingerprint_differs_by_secret_and_does_not_reveal_it():
    fingerprint = checksums.fingerprint("one")
    assert fingerprint == checksums.fingerprint("one") != checksums.fingerprint("two")
    assert "one" not in fingerprint
