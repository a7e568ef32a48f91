"""Test the upload and display of task logs with a fake bucket."""

import multiprocessing
from io import BytesIO
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from botocore.exceptions import ClientError, EndpointConnectionError

from tests.runtime.airflow.supervised import patched_supervisor, runtime

DESTINATION = "s3://logs/of"
PATH = "dag_id=d/run_id=r/task_id=t/attempt=1.log"


@pytest.fixture(scope="module")
def module():
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AIRFLOW_LOGS_DESTINATION", f"{DESTINATION}/")
        yield runtime("airflow.remote_logs")


class FakeClient:
    """An S3 client with objects in memory, whose bucket may be unreachable."""

    def __init__(self):
        self.objects: dict[str, str] = {}
        self.errors: dict[str, Exception] = {}
        self.unreachable, self.requests = False, 0

    def answer(self, key=""):
        self.requests += 1
        if self.unreachable:
            raise EndpointConnectionError(endpoint_url="http://s3.here")
        if key in self.errors:
            raise self.errors[key]

    def upload_file(self, path, bucket, key, Config):
        self.answer(key)
        assert bucket == "logs"
        self.objects[key] = Path(path).read_text()

    def get_object(self, Bucket, Key):
        self.answer()
        return {"Body": BytesIO(self.objects[Key].encode())}

    def get_paginator(self, operation):
        assert operation == "list_objects_v2"
        return SimpleNamespace(paginate=self.pages)

    def pages(self, Bucket, Prefix):
        self.answer()
        return [{"Contents": [{"Key": name}]} for name in self.objects if name.startswith(Prefix)]


@pytest.fixture
def logs(module, tmp_path, monkeypatch):
    # Pending logs are due immediately.
    monkeypatch.setattr("stack_runtime.airflow.pending_logs.AGAIN_SECONDS", -1)
    logs = module.TaskLogs(f"{DESTINATION}/", str(tmp_path))
    logs.client = FakeClient()
    return logs


@pytest.fixture
def client(logs):
    return logs.client


def write_log(logs, text, path=PATH):
    """Write a log to its folder, and return its path."""
    file = logs.folder / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)
    return path


def path_of(number):
    return PATH.replace("task_id=t", f"task_id=t{number}")


def key_of(path):
    return f"of/{path}"


def test_module_defines_names_for_airflow(module):
    from airflow.config_templates.airflow_local_settings import DEFAULT_LOGGING_CONFIG

    assert module.LOGGING_CONFIG == DEFAULT_LOGGING_CONFIG
    assert module.REMOTE_TASK_LOG.destination == DESTINATION
    assert not module.REMOTE_TASK_LOG.processors


def test_client_uses_environment_keys_and_short_timeouts(module, monkeypatch):
    monkeypatch.setattr("boto3.DEFAULT_SESSION", None)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "of-the-environment")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "x")
    client = module.TaskLogs(DESTINATION, "").client
    location = {"Bucket": "logs", "Key": "of"}
    assert "of-the-environment" in client.generate_presigned_url("get_object", location)
    config = client.meta.config
    assert (config.connect_timeout, config.read_timeout) == (2, 10)
    assert config.retries == {"mode": "standard", "total_max_attempts": 2}


def test_uploaded_log_is_read_from_bucket(logs, client):
    logs.upload(write_log(logs, "begun\nended"), None)
    assert client.objects == {key_of(PATH): "begun\nended"}
    assert logs.read(PATH, None) == ([f"{DESTINATION}/{PATH}"], ["begun\nended"])
    assert (logs.folder / PATH).exists()
    assert logs.pending.get(PATH) is None


def test_path_with_url_characters_is_kept(logs, client):
    path = write_log(logs, "text", "dag_id=d/run_id=a?b#c/attempt=1.log")
    logs.upload(path, None)
    assert logs.read(path, None)[1] == ["text"]


def test_read_log_with_invalid_utf8_replaces_bytes(logs, client, monkeypatch):
    client.objects[key_of(PATH)] = "text"
    monkeypatch.setattr(client, "get_object", lambda **_: {"Body": BytesIO(b"half \xc3")})
    assert logs.read(PATH, None)[1] == ["half \ufffd"]


def test_log_of_killed_worker_is_uploaded_by_next_task(logs, client):
    killed = write_log(logs, "begun", path_of(1))
    logs.pending.add(killed)
    assert logs.read(killed, None) == ([f"not in {DESTINATION} yet"], None)
    logs.upload(write_log(logs, "now"), None)
    assert client.objects == {key_of(PATH): "now", key_of(killed): "begun"}
    # Its task may still run, so it stays pending, but an unchanged log is not uploaded again.
    requests = client.requests
    logs.upload(PATH, None)
    assert client.requests == requests + 1
    assert logs.read(killed, None)[1] is None
    write_log(logs, "begun\nand more", killed)
    logs.upload(PATH, None)
    assert client.objects[key_of(killed)] == "begun\nand more"


def test_log_unchanged_for_a_day_is_complete(logs, module, monkeypatch):
    killed = write_log(logs, "begun", path_of(1))
    logs.pending.add(killed)
    logs.upload(write_log(logs, "now"), None)
    monkeypatch.setattr(module, "COMPLETE_SECONDS", -1)
    logs.upload(PATH, None)
    assert logs.read(killed, None) == ([f"{DESTINATION}/{killed}"], ["begun"])


def test_trigger_log_is_uploaded_with_task_log(logs, client):
    trigger_log = write_log(logs, "looked", f"{PATH}.trigger.7.log")
    logs.upload(trigger_log, None)
    assert client.requests == 0
    assert logs.read(PATH, None) == ([f"not in {DESTINATION} yet"], None)
    logs.upload(write_log(logs, "ended"), None)
    assert logs.read(PATH, None)[1] == ["ended", "looked"]
    assert not list(logs.pending.folder.glob("*.json"))


def test_unreachable_bucket_is_logged_once_then_paused_then_caught_up(
    logs, client, module, caplog,
    monkeypatch,
):  # fmt: skip
    client.unreachable = True
    for number in range(3):
        logs.upload(write_log(logs, path_of(number), path_of(number)), None)
    assert client.requests == 1
    [message] = [record.getMessage() for record in caplog.records]
    assert message.startswith(f"task logs in {DESTINATION}: its server does not answer; Check that")
    assert logs.read(path_of(0), None) == ([f"not in {DESTINATION} yet: {message}"], None)
    assert logs.read("dag_id=d/another.log", None) == ([message], None)
    assert client.requests == 1
    client.unreachable, logs.paused_until = False, 0.0
    monkeypatch.setattr("stack_runtime.airflow.pending_logs.REFUSED_SECONDS", -1)
    logs.upload(write_log(logs, "now"), None)
    uploads = {key_of(path_of(n)): path_of(n) for n in range(3)}
    assert client.objects == {key_of(PATH): "now", **uploads}
    assert logs.read(path_of(0), None)[1] == [path_of(0)]


def test_rejected_log_does_not_block_others(logs, client, caplog):
    response: Any = {
        "Error": {"Code": "KeyTooLongError"}, "ResponseMetadata": {"HTTPStatusCode": 400},
    }  # fmt: skip
    for number in range(4):
        logs.pending.add(write_log(logs, "text", path_of(number)))
    client.errors[key_of(path_of(1))] = ClientError(response, "PutObject")
    logs.upload(write_log(logs, "now"), None)
    assert len(client.objects) == 4
    assert logs.pending.get(path_of(1)) is None
    assert f"{DESTINATION} rejects {path_of(1)}: ClientError." in caplog.text
    assert not logs._paused()


def test_bucket_failure_during_catch_up_loses_no_log(logs, client, module, monkeypatch):
    for number in range(5):
        logs.pending.add(write_log(logs, "text", path_of(number)))
    monkeypatch.setattr("stack_runtime.airflow.pending_logs.REFUSED_SECONDS", -1)
    monkeypatch.setattr(module, "PAUSE_SECONDS", -1)
    answer, keys = client.answer, []

    def fail_once(key=""):
        keys.append(key)
        client.unreachable = len(keys) == 3
        answer(key)

    client.answer = fail_once  # type: ignore[method-assign]
    logs.upload(write_log(logs, "now"), None)
    logs.upload(PATH, None)
    assert len(client.objects) == 6


def test_log_that_grows_during_upload_stays_pending(logs, client, monkeypatch):
    upload = client.upload_file

    def grow(path, *arguments, **options):
        upload(path, *arguments, **options)
        Path(path).write_text("begun\nended")

    monkeypatch.setattr(client, "upload_file", grow)
    logs.upload(write_log(logs, "begun"), None)
    assert logs.read(PATH, None)[1] is None


def test_deleted_log_is_no_longer_pending(logs, client):
    logs.pending.add(PATH)
    client.objects[key_of(PATH)] = "previous"
    assert logs.read(PATH, None)[1] == ["previous"]
    logs.upload(write_log(logs, "now", "another.log"), None)
    assert logs.pending.get(PATH) is None


def test_pending_log_with_long_path_is_recorded(logs):
    path = f"dag_id={'d' * 200}/run_id={'r' * 200}/attempt=1.log"
    logs.pending.add(path)
    with logs.pending.due() as records:
        assert [record["path"] for record in records] == [path]


def put_due_records(pending, queue):
    with pending.due() as records:
        queue.put(records)


def test_pending_logs_are_locked_by_one_process(logs):
    logs.pending.add(PATH)
    processes = multiprocessing.get_context("fork")
    queue = processes.Queue()
    with logs.pending.due() as records:
        other = processes.Process(target=put_due_records, args=(logs.pending, queue))
        other.start()
        assert queue.get(timeout=30) == []
        other.join()
    assert len(records) == 1


def test_unwritable_folder_fails_no_task(logs, client):
    (logs.folder / ".not-in-the-bucket").touch()
    client.unreachable = True
    logs.upload(write_log(logs, "now"), None)


def test_short_timeouts_are_temporary(module):
    from botocore.config import Config

    before = dict(Config.OPTION_DEFAULTS)
    with module.s3.short_timeouts():
        assert Config().connect_timeout == 2
    assert dict(Config.OPTION_DEFAULTS) == before


@pytest.mark.parametrize(
    ("state", "uploads"),
    [("success", 1), ("failed", 1), ("up_for_retry", 1), ("deferred", 0), ("up_for_reschedule", 0)],
)
def test_log_is_pending_from_start_and_uploaded_in_final_state(
    module, logs, monkeypatch, state, uploads
):
    calls: list[str] = []

    class FakeSupervisor:
        final_state, process_log = state, SimpleNamespace(_logger="logger")

        def _on_child_started(self, ti):
            calls.append(f"{ti} started")

        def _upload_logs(self):
            calls.append("uploaded")

    supervisor = SimpleNamespace(ActivitySubprocess=FakeSupervisor)
    monkeypatch.setenv("AIRFLOW_LOGS_DESTINATION", DESTINATION)
    monkeypatch.setattr("airflow.sdk.log.relative_path_from_logger", lambda _: Path(PATH))
    monkeypatch.setattr(module, "REMOTE_TASK_LOG", logs)
    runtime("airflow.patches.task_logs").upload_when_ended(supervisor)
    subprocess = supervisor.ActivitySubprocess()
    subprocess._on_child_started("task")
    assert logs.pending.get(PATH) == {"path": PATH, "why": "", "sent": -1}
    subprocess._upload_logs()
    assert calls == ["task started"] + ["uploaded"] * uploads


def test_patch_applies_to_airflow_supervisor(module, monkeypatch):
    supervisor = patched_supervisor()
    monkeypatch.setattr(supervisor, "ActivitySubprocess", supervisor.ActivitySubprocess)
    monkeypatch.setenv("AIRFLOW_LOGS_DESTINATION", DESTINATION)
    patch = runtime("airflow.patches.task_logs").PATCHES[0]
    assert runtime("shared.patch_registry").activate(patch, supervisor) == ""
    assert "UploadedOnce" in [base.__name__ for base in supervisor.ActivitySubprocess.__mro__]
    assert callable(supervisor.ActivitySubprocess._upload_logs)
