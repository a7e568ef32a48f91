"""Artifacts moved into a bucket: by the real script, with a bucket of paper."""

import json
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from orchestration.commands import move_artifacts
from orchestration.errors import StackError
from orchestration.process import runner


class NoSuchKey(Exception):
    """As AWS's library raises it."""

    def __init__(self):
        self.response, self.operation_name = {"Error": {"Code": "NoSuchKey"}}, "GetObject"


class Body:
    """A stream that is closed after it was read."""

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
    """AWS's client for one bucket, which may spoil what it is given."""

    def __init__(self, held=(), spoils=""):
        self.held, self.sent, self.spoils = dict(held), [], spoils

    def get_object(self, Bucket, Key):
        if Key not in self.held:
            raise NoSuchKey
        content = self.held[Key]
        return {"Body": Body(content), "ContentLength": len(content)}

    def upload_file(self, path, bucket, key):
        content = Path(path).read_bytes()
        self.sent.append(key)
        self.held[key] = content[::-1] if key == self.spoils else content


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


def moved(script, folder, bucket, since=0.0):
    target = script.Target(bucket, "s3://bucket/of/this/")
    return list(script.moved(target, folder, script.changed_since(folder, since)))


def test_every_file_is_there_under_the_prefix_and_it_is_told_how_far_it_is(script, folder):
    bucket = Bucket()
    told = moved(script, folder, bucket)
    assert bucket.held == {"of/this/1/a": b"first", "of/this/1/b/c": b"second", "of/this/2/d": b""}
    assert (told[-1].files, told[-1].of_files, told[-1].bytes, told[-1].sent) == (3, 3, 11, 11)


def test_what_is_there_already_is_not_sent_again_unless_it_differs(script, folder):
    bucket = Bucket({"of/this/1/a": b"first", "of/this/1/b/c": b"2nd...", "of/this/2/d": b"more"})
    moved(script, folder, bucket)
    assert sorted(bucket.sent) == ["of/this/1/b/c", "of/this/2/d"]
    assert bucket.held["of/this/1/b/c"] == b"second"


def test_what_comes_back_in_another_form_is_no_copy(script, folder):
    with pytest.raises(script.Changed, match="1/a"):
        moved(script, folder, Bucket(spoils="of/this/1/a"))


@pytest.mark.parametrize("then", [Path.unlink, lambda path: path.write_bytes(b"longer than that")])
def test_a_file_that_goes_or_grows_meanwhile_is_left_to_the_next_round(script, folder, then):
    bucket = Bucket()
    upload = bucket.upload_file

    def upload_file(path, *more):
        if path.endswith("1/a"):
            time.sleep(0.02)
            then(Path(path))
        upload(path, *more)

    bucket.upload_file = upload_file
    moved(script, folder, bucket)
    bucket.upload_file = upload
    moved(script, folder, bucket)
    there = {name.removeprefix("of/this/"): content for name, content in bucket.held.items()}
    here = {str(path.relative_to(folder)): path for path in folder.rglob("*") if path.is_file()}
    assert there == {name: path.read_bytes() for name, path in here.items()}


def test_a_server_that_shows_a_file_a_moment_later_has_it(script, folder):
    bucket = Bucket()
    get, asked = bucket.get_object, []

    def get_object(Bucket, Key):
        asked.append(Key)
        # Before it was sent, and at once afterwards.
        if asked.count(Key) < 3:
            raise NoSuchKey
        return get(Bucket, Key)

    bucket.get_object = get_object
    assert moved(script, folder, bucket)[-1].sent == 11


def test_a_file_that_goes_before_its_turn_ends_nothing(script, folder):
    paths = script.changed_since(folder, 0.0)
    (folder / "1/a").unlink()
    told = list(script.moved(script.Target(Bucket(), "s3://bucket/p"), folder, paths))
    assert told[-1].sent == 6


def test_a_second_round_takes_what_was_written_since(script, folder):
    later = max(path.stat().st_ctime for path in folder.rglob("*")) + 1
    assert not moved(script, folder, Bucket(), since=later)


class Engine:
    """Prints what the script would."""

    def __init__(self, *lines):
        self.lines = lines

    def command(self, service, argv, *, anew=False):
        assert anew
        return runner.Command(("printf", "%s\n", *map(json.dumps, self.lines)))


DONE = {"files": 2, "of_files": 2, "bytes": 3 * 2**20, "of_bytes": 3 * 2**20, "sent": 0}


def test_what_came_of_a_round_is_its_last_line():
    told = move_artifacts._copied(Engine({**DONE, "files": 1}, DONE), "/from", 0)
    assert move_artifacts._words(told) == "2 files, 3.0 MiB"


def test_a_round_that_failed_says_what_stays_and_what_to_do():
    trouble = {"name": "bucket-full", "cause": "its server has no room", "fix": "make room there"}
    with pytest.raises(StackError, match=r"no room.*MLflow still uses .*\nRun: make room"):
        move_artifacts._copied(Engine(DONE, trouble), "/from", 0)


def test_a_place_that_settings_would_refuse_is_refused_before_anything_is_copied(
    project, make_settings, monkeypatch
):
    chosen = make_settings(AIRFLOW_LOGS_DESTINATION="s3://bucket/logs")
    monkeypatch.setattr(move_artifacts, "working_engine", lambda project: (chosen, None))
    with pytest.raises(StackError, match="AIRFLOW_LOGS_DESTINATION is inside"):
        move_artifacts.run(project, "s3://bucket", dry_run=False)


def test_a_file_that_changes_while_nobody_should_write_is_no_copy(script, folder):
    bucket = Bucket()
    upload = bucket.upload_file

    def upload_file(path, *more):
        time.sleep(0.02)
        Path(path).write_bytes(b"longer than that")
        upload(path, *more)

    bucket.upload_file = upload_file
    target = script.Target(bucket, "s3://bucket/p", last=True)
    with pytest.raises(script.Changed):
        list(script.moved(target, folder, script.changed_since(folder, 0.0)))
