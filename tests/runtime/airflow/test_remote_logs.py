"""Logs on their way to a bucket of paper: what is written, what waits, what is shown."""

import multiprocessing
from io import BytesIO
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from botocore.exceptions import ClientError, EndpointConnectionError

from tests.runtime.airflow.supervised import patched_supervisor, runtime

WHERE = "s3://logs/of"
PATH = "dag_id=d/run_id=r/task_id=t/attempt=1.log"


@pytest.fixture(scope="module")
def module():
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AIRFLOW_LOGS_DESTINATION", f"{WHERE}/")
        yield runtime("airflow.remote_logs")


class Client:
    """AWS's, for a bucket that may be away."""

    def __init__(self):
        self.held: dict[str, str] = {}
        self.fails: dict[str, Exception] = {}
        self.away, self.asked = False, 0

    def answer(self, key=""):
        self.asked += 1
        if self.away:
            raise EndpointConnectionError(endpoint_url="http://s3.here")
        if key in self.fails:
            raise self.fails[key]

    def upload_file(self, path, bucket, key, Config):
        self.answer(key)
        assert bucket == "logs"
        self.held[key] = Path(path).read_text()

    def get_object(self, Bucket, Key):
        self.answer()
        return {"Body": BytesIO(self.held[Key].encode())}

    def get_paginator(self, operation):
        assert operation == "list_objects_v2"
        return SimpleNamespace(paginate=self.pages)

    def pages(self, Bucket, Prefix):
        self.answer()
        return [{"Contents": [{"Key": name}]} for name in self.held if name.startswith(Prefix)]


@pytest.fixture
def logs(module, tmp_path, monkeypatch):
    # What waits is looked at again at once.
    monkeypatch.setattr("stack_runtime.airflow.pending_logs.AGAIN_SECONDS", -1)
    logs = module.TaskLogs(f"{WHERE}/", str(tmp_path))
    logs.client = Client()
    return logs


@pytest.fixture
def client(logs):
    return logs.client


def written(logs, text, path=PATH):
    """A log in its folder; its name."""
    file = logs.folder / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)
    return path


def of(number):
    return PATH.replace("task_id=t", f"task_id=t{number}")


def there(path):
    return f"of/{path}"


def test_airflow_finds_what_it_asks_this_module_for(module):
    from airflow.config_templates.airflow_local_settings import DEFAULT_LOGGING_CONFIG

    assert module.LOGGING_CONFIG == DEFAULT_LOGGING_CONFIG
    assert module.REMOTE_TASK_LOG.destination == WHERE
    assert not module.REMOTE_TASK_LOG.processors


def test_it_asks_with_the_environment_s_keys_and_does_not_wait_for_long(module, monkeypatch):
    monkeypatch.setattr("boto3.DEFAULT_SESSION", None)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "of-the-environment")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "x")
    client = module.TaskLogs(WHERE, "").client
    asked = {"Bucket": "logs", "Key": "of"}
    assert "of-the-environment" in client.generate_presigned_url("get_object", asked)
    config = client.meta.config
    assert (config.connect_timeout, config.read_timeout) == (2, 10)
    assert config.retries == {"mode": "standard", "total_max_attempts": 2}


def test_a_log_goes_to_the_bucket_and_is_shown_from_there(logs, client):
    logs.upload(written(logs, "begun\nended"), None)
    assert client.held == {there(PATH): "begun\nended"}
    assert logs.read(PATH, None) == ([f"{WHERE}/{PATH}"], ["begun\nended"])
    assert (logs.folder / PATH).exists()
    assert logs.waiting.get(PATH) is None


def test_names_that_mean_something_in_a_url_are_names(logs, client):
    path = written(logs, "text", "dag_id=d/run_id=a?b#c/attempt=1.log")
    logs.upload(path, None)
    assert logs.read(path, None)[1] == ["text"]


def test_a_log_that_is_no_text_is_copied_and_shown_as_far_as_it_is(logs, client, monkeypatch):
    client.held[there(PATH)] = "text"
    monkeypatch.setattr(client, "get_object", lambda **_: {"Body": BytesIO(b"half \xc3")})
    assert logs.read(PATH, None)[1] == ["half \ufffd"]


def test_one_whose_worker_was_killed_is_shown_from_the_folder_and_follows(logs, client):
    killed = written(logs, "begun", of(1))
    logs.waiting.add(killed)
    assert logs.read(killed, None) == ([f"not in {WHERE} yet"], None)
    logs.upload(written(logs, "now"), None)
    assert client.held == {there(PATH): "now", there(killed): "begun"}
    # Its task may still run: it is not forgotten, nor copied again where nothing is new.
    asked = client.asked
    logs.upload(PATH, None)
    assert client.asked == asked + 1
    assert logs.read(killed, None)[1] is None
    written(logs, "begun\nand more", killed)
    logs.upload(PATH, None)
    assert client.held[there(killed)] == "begun\nand more"


def test_one_that_nobody_wrote_to_for_a_day_is_there_for_good(logs, module, monkeypatch):
    killed = written(logs, "begun", of(1))
    logs.waiting.add(killed)
    logs.upload(written(logs, "now"), None)
    monkeypatch.setattr(module, "FORGOTTEN_SECONDS", -1)
    logs.upload(PATH, None)
    assert logs.read(killed, None) == ([f"{WHERE}/{killed}"], ["begun"])


def test_a_trigger_s_log_goes_with_its_task_s(logs, client):
    of_trigger = written(logs, "looked", f"{PATH}.trigger.7.log")
    logs.upload(of_trigger, None)
    assert client.asked == 0
    assert logs.read(PATH, None) == ([f"not in {WHERE} yet"], None)
    logs.upload(written(logs, "ended"), None)
    assert logs.read(PATH, None)[1] == ["ended", "looked"]
    assert not list(logs.waiting.folder.glob("*.json"))


def test_a_bucket_that_is_away_is_told_once_left_alone_and_caught_up_with(
    logs, client, module, caplog,
    monkeypatch,
):  # fmt: skip
    client.away = True
    for number in range(3):
        logs.upload(written(logs, of(number), of(number)), None)
    assert client.asked == 1
    [told] = [record.getMessage() for record in caplog.records]
    assert told.startswith(f"task logs in {WHERE}: its server does not answer; Check that")
    assert logs.read(of(0), None) == ([f"not in {WHERE} yet: {told}"], None)
    assert logs.read("dag_id=d/another.log", None) == ([told], None)
    assert client.asked == 1
    client.away, logs.rests_until = False, 0.0
    monkeypatch.setattr("stack_runtime.airflow.pending_logs.REFUSED_SECONDS", -1)
    logs.upload(written(logs, "now"), None)
    assert client.held == {there(PATH): "now", **{there(of(n)): of(n) for n in range(3)}}
    assert logs.read(of(0), None)[1] == [of(0)]


def test_a_log_that_is_never_taken_holds_no_other_up(logs, client, caplog):
    told: Any = {"Error": {"Code": "KeyTooLongError"}, "ResponseMetadata": {"HTTPStatusCode": 400}}
    for number in range(4):
        logs.waiting.add(written(logs, "text", of(number)))
    client.fails[there(of(1))] = ClientError(told, "PutObject")
    logs.upload(written(logs, "now"), None)
    assert len(client.held) == 4
    assert logs.waiting.get(of(1)) is None
    assert f"{of(1)} is not taken by {WHERE}: ClientError" in caplog.text
    assert not logs._rests()


def test_a_bucket_that_fails_while_it_is_caught_up_with_is_no_loss(
    logs, client, module, monkeypatch
):
    for number in range(5):
        logs.waiting.add(written(logs, "text", of(number)))
    monkeypatch.setattr("stack_runtime.airflow.pending_logs.REFUSED_SECONDS", -1)
    monkeypatch.setattr(module, "REST_SECONDS", -1)
    answer, before = client.answer, []

    def fail_once(key=""):
        before.append(key)
        client.away = len(before) == 3
        answer(key)

    client.answer = fail_once  # type: ignore[method-assign]
    logs.upload(written(logs, "now"), None)
    logs.upload(PATH, None)
    assert len(client.held) == 6


def test_one_that_grows_while_it_is_copied_waits_on(logs, client, monkeypatch):
    upload = client.upload_file

    def grow(path, *given, **named):
        upload(path, *given, **named)
        Path(path).write_text("begun\nended")

    monkeypatch.setattr(client, "upload_file", grow)
    logs.upload(written(logs, "begun"), None)
    assert logs.read(PATH, None)[1] is None


def test_one_whose_file_was_cleaned_away_is_waited_for_no_more(logs, client):
    logs.waiting.add(PATH)
    client.held[there(PATH)] = "of before"
    assert logs.read(PATH, None)[1] == ["of before"]
    logs.upload(written(logs, "now", "another.log"), None)
    assert logs.waiting.get(PATH) is None


def test_a_path_longer_than_a_name_may_be_is_kept(logs):
    path = f"dag_id={'d' * 200}/run_id={'r' * 200}/attempt=1.log"
    logs.waiting.add(path)
    with logs.waiting.taken() as found:
        assert [known["path"] for known in found] == [path]


def take(waiting, found):
    with waiting.taken() as known:
        found.put(known)


def test_what_waits_is_taken_by_one_process_at_a_time(logs):
    logs.waiting.add(PATH)
    processes = multiprocessing.get_context("fork")
    found = processes.Queue()
    with logs.waiting.taken() as known:
        other = processes.Process(target=take, args=(logs.waiting, found))
        other.start()
        assert found.get(timeout=30) == []
        other.join()
    assert len(known) == 1


def test_a_folder_that_cannot_be_written_fails_no_task(logs, client):
    (logs.folder / ".not-in-the-bucket").touch()
    client.away = True
    logs.upload(written(logs, "now"), None)


def test_aws_s_library_waits_as_it_did_for_whoever_else_uses_it(module):
    from botocore.config import Config

    before = dict(Config.OPTION_DEFAULTS)
    with module.s3.brief():
        assert Config().connect_timeout == 2
    assert dict(Config.OPTION_DEFAULTS) == before


@pytest.mark.parametrize(
    ("state", "uploads"),
    [("success", 1), ("failed", 1), ("up_for_retry", 1), ("deferred", 0), ("up_for_reschedule", 0)],
)
def test_a_task_s_log_waits_from_its_beginning_and_is_uploaded_at_its_end(
    module, logs, monkeypatch, state, uploads
):
    done: list[str] = []

    class Watching:
        final_state, process_log = state, SimpleNamespace(_logger="logger")

        def _on_child_started(self, ti):
            done.append(f"{ti} started")

        def _upload_logs(self):
            done.append("uploaded")

    supervisor = SimpleNamespace(ActivitySubprocess=Watching)
    monkeypatch.setenv("AIRFLOW_LOGS_DESTINATION", WHERE)
    monkeypatch.setattr("airflow.sdk.log.relative_path_from_logger", lambda _: Path(PATH))
    monkeypatch.setattr(module, "REMOTE_TASK_LOG", logs)
    runtime("airflow.patches.task_logs").upload_when_ended(supervisor)
    watching = supervisor.ActivitySubprocess()
    watching._on_child_started("task")
    assert logs.waiting.get(PATH) == {"path": PATH, "why": "", "sent": -1}
    watching._upload_logs()
    assert done == ["task started"] + ["uploaded"] * uploads


def test_airflow_s_supervisor_is_watched(module, monkeypatch):
    supervisor = patched_supervisor()
    monkeypatch.setattr(supervisor, "ActivitySubprocess", supervisor.ActivitySubprocess)
    monkeypatch.setenv("AIRFLOW_LOGS_DESTINATION", WHERE)
    patch = runtime("airflow.patches.task_logs").PATCH
    assert runtime("shared.patch_registry").activate(patch, supervisor) == ""
    assert "UploadedOnce" in [one.__name__ for one in supervisor.ActivitySubprocess.__mro__]
    assert callable(supervisor.ActivitySubprocess._upload_logs)
