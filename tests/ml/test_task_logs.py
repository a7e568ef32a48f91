"""Logs on their way to a bucket of paper: what is written, what waits, what is shown."""

import importlib
import multiprocessing
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from botocore.exceptions import EndpointConnectionError

from tests.ml.supervised import CONFIG

WHERE = "s3://logs/of"
PATH = "dag_id=d/run_id=r/task_id=t/attempt=1.log"


@pytest.fixture(scope="module")
def module() -> Iterator[ModuleType]:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(CONFIG))
        patch.setenv("AIRFLOW_LOGS_DESTINATION", f"{WHERE}/")
        yield importlib.import_module("task_logs")


class Hook:
    """Amazon's hook, for a bucket that may be away."""

    def __init__(self) -> None:
        self.held: dict[str, str] = {}
        self.away, self.asked = False, 0

    def answer(self) -> None:
        self.asked += 1
        if self.away:
            raise EndpointConnectionError(endpoint_url="http://s3.here")

    def read_key(self, key: str) -> str:
        self.answer()
        return self.held[key]

    def load_string(self, text: str, *, key: str, replace: bool) -> None:
        self.answer()
        assert replace
        self.held[key] = text

    def parse_s3_url(self, s3url: str) -> tuple[str, str]:
        bucket, _, name = s3url.removeprefix("s3://").partition("/")
        return bucket, name

    def list_keys(self, bucket_name: str, prefix: str) -> list[str]:
        self.answer()
        names = (key.removeprefix(f"s3://{bucket_name}/") for key in self.held)
        return [name for name in names if name.startswith(prefix)]


@pytest.fixture
def logs(module: ModuleType, tmp_path: Path) -> Any:
    logs = module.TaskLogs(f"{WHERE}/", str(tmp_path))
    logs.hook = Hook()
    return logs


def written(logs: Any, text: str, path: str = PATH) -> str:
    """A log in its folder; its name."""
    file = logs.base_log_folder / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)
    return path


def test_airflow_finds_what_it_asks_this_module_for(module: ModuleType) -> None:
    from airflow.config_templates.airflow_local_settings import DEFAULT_LOGGING_CONFIG

    assert module.LOGGING_CONFIG == DEFAULT_LOGGING_CONFIG
    assert module.REMOTE_TASK_LOG.remote_base == WHERE
    assert not module.REMOTE_TASK_LOG.processors


def test_it_asks_with_the_environment_s_keys_and_does_not_wait_for_long(module: ModuleType) -> None:
    hook = module.REMOTE_TASK_LOG.hook
    assert hook.aws_conn_id is None
    config = hook.conn_config.botocore_config
    assert (config.connect_timeout, config.read_timeout) == (4, 10)
    assert config.retries == {"mode": "standard", "total_max_attempts": 2}


def test_a_log_goes_to_the_bucket_and_is_shown_from_there(logs: Any) -> None:
    logs.upload(written(logs, "begun\nended"), None)
    assert logs.hook.held == {f"{WHERE}/{PATH}": "begun\nended"}
    assert logs.read(PATH, None) == ([f"{WHERE}/{PATH}"], ["begun\nended"])
    assert (logs.base_log_folder / PATH).exists()


def test_one_that_goes_on_in_the_same_file_is_there_once(logs: Any) -> None:
    logs.upload(written(logs, "first"), None)
    logs.upload(written(logs, "first\nsecond"), None)
    assert logs.hook.held[f"{WHERE}/{PATH}"] == "first\nsecond"


def test_a_try_that_was_killed_is_copied_by_the_next(logs: Any) -> None:
    tries = [PATH.replace("=1.log", f"={number}.log") for number in (1, 2, 3)]
    for path in tries:
        written(logs, path, path)
    logs.upload(tries[0], None)
    logs.upload(tries[2], None)
    assert logs.hook.held == {f"{WHERE}/{path}": path for path in tries}


def test_a_bucket_that_is_away_is_told_once_left_alone_and_caught_up_with(
    logs: Any, caplog: pytest.LogCaptureFixture
) -> None:
    logs.hook.away = True
    others = [PATH.replace("task_id=t", f"task_id=t{number}") for number in range(3)]
    for path in others:
        logs.upload(written(logs, path, path), None)
    assert logs.hook.asked == 1
    [told] = [record.getMessage() for record in caplog.records]
    assert told.startswith(f"task logs in {WHERE}: its server does not answer; look whether")
    assert logs.read(others[0], None) == ([f"not in {WHERE} yet"], None)
    assert logs.read("dag_id=d/another.log", None) == ([told], None)
    assert logs.hook.asked == 1
    logs.hook.away, logs.rests_until = False, 0.0
    logs.upload(written(logs, "now"), None)
    texts = {f"{WHERE}/{path}": path for path in others}
    assert logs.hook.held == {f"{WHERE}/{PATH}": "now", **texts}
    assert logs.read(others[0], None)[1] == [others[0]]


def test_a_bucket_that_fails_while_it_is_caught_up_with_is_no_loss(logs: Any) -> None:
    paths = [PATH.replace("task_id=t", f"task_id=t{number}") for number in range(5)]
    logs.hook.away = True
    for path in paths:
        logs.upload(written(logs, path, path), None)
    logs.hook.away, logs.rests_until = False, 0.0
    load, before = logs.hook.load_string, []

    def fail_at_the_third(text: str, **named: Any) -> None:
        logs.hook.away = len(before) == 2
        before.append(text)
        load(text, **named)

    logs.hook.load_string = fail_at_the_third
    logs.upload(written(logs, "now"), None)
    assert len(logs.hook.held) == 2
    logs.hook.load_string, logs.hook.away, logs.rests_until = load, False, 0.0
    logs.upload(PATH, None)
    assert len(logs.hook.held) == 6


def test_one_whose_file_was_cleaned_away_is_waited_for_no_more(logs: Any) -> None:
    logs.missed.add(PATH)
    logs.upload(written(logs, "now", "another.log"), None)
    assert PATH not in logs.missed
    assert list(logs.hook.held) == [f"{WHERE}/another.log"]


def test_a_path_longer_than_a_name_may_be_is_kept(logs: Any) -> None:
    path = f"dag_id={'d' * 200}/run_id={'r' * 200}/attempt=1.log"
    logs.missed.add(path)
    with logs.missed.taken() as found:
        assert found == [path]


def take(missed: Any, found: Any) -> None:
    with missed.taken() as paths:
        found.put(paths)


def test_what_waits_is_taken_by_one_process_at_a_time(logs: Any) -> None:
    logs.missed.add(PATH)
    processes = multiprocessing.get_context("fork")
    found = processes.Queue()
    with logs.missed.taken() as paths:
        other = processes.Process(target=take, args=(logs.missed, found))
        other.start()
        assert found.get(timeout=30) == []
        other.join()
    assert paths == [PATH]


def test_a_folder_that_cannot_be_written_fails_no_task(logs: Any) -> None:
    (logs.base_log_folder / ".not-in-the-bucket").touch()
    logs.hook.away = True
    logs.upload(written(logs, "now"), None)
