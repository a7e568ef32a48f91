"""`inv move-artifacts`: the real script with a fake bucket."""

import json
import os
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from orchestration.commands import move_artifacts
from orchestration.errors import StackError
from orchestration.process import runner
from tests.support.artifact_names import NAMES, plant, tree


class NoSuchKey(Exception):
    """The error that AWS's library raises for a missing object."""

    def __init__(self):
        self.response, self.operation_name = {"Error": {"Code": "NoSuchKey"}}, "GetObject"


class Body:
    """A stream that works as a context manager."""

    def __init__(self, content):
        self.content = content

    def __enter__(self):
        return self

    def __exit__(self, *_):
        return None

    def read(self, size):
        part, self.content = self.content[:size], self.content[size:]
        return part


class Bucket:
    """A fake client for one bucket that can corrupt one object."""

    def __init__(self, objects=(), corrupts=""):
        self.objects, self.sent, self.corrupts = dict(objects), [], corrupts

    def get_object(self, Bucket, Key):
        if Key not in self.objects:
            raise NoSuchKey
        content = self.objects[Key]
        return {"Body": Body(content), "ContentLength": len(content)}

    def upload_file(self, path, bucket, key):
        content = Path(path).read_bytes()
        self.sent.append(key)
        self.objects[key] = content[::-1] if key == self.corrupts else content


@pytest.fixture
def script(script, monkeypatch):
    library = SimpleNamespace(ClientError=NoSuchKey, BotoCoreError=OSError, Boto3Error=OSError)
    for name in ("botocore", "botocore.exceptions", "boto3", "boto3.exceptions"):
        monkeypatch.setitem(sys.modules, name, library)
    return script("mlflow.move_artifacts")


@pytest.fixture
def folder(tmp_path):
    for name, content in (("1/a", b"first"), ("1/b/c", b"second"), ("2/d", b"")):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(content)
    return tmp_path


def copy(script, folder, bucket, since=0.0):
    target = script.Target(bucket, "s3://bucket/of/this/")
    return list(script.copy_files(target, folder, script.changed_since(folder, since)))


def test_copy_sends_all_files_below_the_prefix_and_counts_them(script, folder):
    bucket = Bucket()
    last = copy(script, folder, bucket)[-1]
    names = {"of/this/1/a": b"first", "of/this/1/b/c": b"second", "of/this/2/d": b""}
    assert bucket.objects == names
    assert (last.files, last.of_files, last.bytes, last.sent) == (3, 3, 11, 11)


def test_copy_skips_objects_with_the_same_content(script, folder):
    bucket = Bucket({"of/this/1/a": b"first", "of/this/1/b/c": b"2nd...", "of/this/2/d": b"more"})
    copy(script, folder, bucket)
    assert sorted(bucket.sent) == ["of/this/1/b/c", "of/this/2/d"]
    assert bucket.objects["of/this/1/b/c"] == b"second"


def test_copy_fails_if_the_bucket_returns_other_content(script, folder):
    with pytest.raises(script.ContentMismatch, match="1/a"):
        copy(script, folder, Bucket(corrupts="of/this/1/a"))


@pytest.mark.parametrize("change", [Path.unlink, lambda path: path.write_bytes(b"longer content")])
def test_copy_leaves_a_changed_file_to_the_next_round(script, folder, change):
    bucket = Bucket()
    upload = bucket.upload_file

    def upload_file(path, *more):
        if path.endswith("1/a"):
            time.sleep(0.02)
            change(Path(path))
        upload(path, *more)

    bucket.upload_file = upload_file
    copy(script, folder, bucket)
    bucket.upload_file = upload
    copy(script, folder, bucket)
    copied = {name.removeprefix("of/this/"): content for name, content in bucket.objects.items()}
    files = {str(path.relative_to(folder)): path for path in folder.rglob("*") if path.is_file()}
    assert copied == {name: path.read_bytes() for name, path in files.items()}


def test_copy_waits_until_the_server_returns_a_new_object(script, folder):
    bucket = Bucket()
    get, keys = bucket.get_object, []

    def get_object(Bucket, Key):
        keys.append(Key)
        # The first request comes before the upload, the second directly after it.
        if keys.count(Key) < 3:
            raise NoSuchKey
        return get(Bucket, Key)

    bucket.get_object = get_object
    assert copy(script, folder, bucket)[-1].sent == 11


def test_copy_skips_a_file_that_was_deleted(script, folder):
    paths = script.changed_since(folder, 0.0)
    (folder / "1/a").unlink()
    last = list(script.copy_files(script.Target(Bucket(), "s3://bucket/p"), folder, paths))[-1]
    assert last.sent == 6


def test_second_round_copies_only_newer_files(script, folder):
    later = max(path.stat().st_ctime for path in folder.rglob("*")) + 1
    assert not copy(script, folder, Bucket(), since=later)


def test_copy_sends_any_name_and_follows_links(script, tmp_path):
    plant(tmp_path)
    for path in sorted(tmp_path.rglob("*"), reverse=True):
        if b"\xff" in os.fsencode(path) or len(os.fsencode(path.relative_to(tmp_path))) > 900:
            path.rmdir() if path.is_dir() else path.unlink()
    bucket = Bucket()
    copy(script, tmp_path, bucket)
    copied = {name.removeprefix("of/this/").encode(): c for name, c in bucket.objects.items()}
    entries = tree(tmp_path).items()
    assert copied.items() >= {n: c for n, c in entries if isinstance(c, bytes)}.items()
    assert copied[b"2/to file"] == copied[b"2/hard link"] == copied[b"1/" + NAMES[0]]
    assert copied[b"2/to folder/-rf/-rf"] == copied[b"1/folders/-rf/-rf"]
    assert not [name for name in copied if name.startswith((b"2/loop", b"2/to nothing"))]


@pytest.mark.parametrize(("name", "reason"), [
    (b"1/\xff", r"'1/\udcff': its name is not UTF-8"),
    (b"/".join([b"x" * 200] * 5), "its name has 1,004 bytes instead of at most 900"),
])  # fmt: skip
def test_move_of_name_that_no_bucket_stores_is_refused(
    script, folder, monkeypatch, capsys, name, reason
):
    path = os.path.join(os.fsencode(folder), name)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "wb") as file:
        file.write(b"content")
    monkeypatch.setenv("MLFLOW_ARTIFACTS_DESTINATION", "s3://bucket/p")
    script.main(folder, 0.0, copy=True)
    status = json.loads(capsys.readouterr().out)
    assert "a bucket cannot store " in status["cause"]
    assert reason in status["cause"]
    assert status["fix"] == "Rename it."


class Engine:
    """A fake engine whose command prints the lines of the script."""

    def __init__(self, *lines):
        self.lines = lines

    def command(self, service, argv, *, fresh=False):
        assert fresh
        return runner.Command(("printf", "%s\n", *map(json.dumps, self.lines)))


DONE = {"files": 2, "of_files": 2, "bytes": 3 * 2**20, "of_bytes": 3 * 2**20, "sent": 0}


def test_copy_returns_the_last_line_of_the_script():
    status = move_artifacts._copy(Engine({**DONE, "files": 1}, DONE), "/from", 0)
    assert move_artifacts._total(status) == "2 files, 3.0 MiB"


def test_failed_copy_reports_the_cause_the_fix_and_the_old_location():
    trouble = {"name": "bucket-full", "cause": "its server has no room", "fix": "make room there"}
    with pytest.raises(StackError, match=r"no room.*MLflow still uses .*\nRun: make room"):
        move_artifacts._copy(Engine(DONE, trouble), "/from", 0)


def test_move_to_invalid_destination_fails_before_the_copy(project, make_settings, monkeypatch):
    settings = make_settings(AIRFLOW_LOGS_DESTINATION="s3://bucket/logs")
    monkeypatch.setattr(move_artifacts, "working_engine", lambda project: (settings, None))
    with pytest.raises(StackError, match="AIRFLOW_LOGS_DESTINATION is inside"):
        move_artifacts.run(project, "s3://bucket", dry_run=False)


def test_last_round_fails_if_a_file_changes(script, folder):
    bucket = Bucket()
    upload = bucket.upload_file

    def upload_file(path, *more):
        time.sleep(0.02)
        Path(path).write_bytes(b"longer content")
        upload(path, *more)

    bucket.upload_file = upload_file
    target = script.Target(bucket, "s3://bucket/p", last=True)
    with pytest.raises(script.ContentMismatch):
        list(script.copy_files(target, folder, script.changed_since(folder, 0.0)))
