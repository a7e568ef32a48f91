"""Test the checks of buckets and of the artifacts listed in them."""

import json
from concurrent.futures import Future

import pytest

from orchestration.clients import object_store
from orchestration.engines.base import runtime_module
from orchestration.errors import Problem, StackError
from orchestration.health import readiness
from orchestration.process import runner
from orchestration.settings.model import Settings

WHERE = "s3://models/of/this"


class Engine:
    """Runs a command that prints `output` instead of checking a bucket."""

    def __init__(self, output, **environment):
        self.output, self.calls, self.current = output, [], environment

    def environment(self, service):
        return self.current

    def command(self, service, argv, *, fresh=False):
        self.calls.append((service, *argv, fresh))
        return runner.Command(("printf", "%s", f"a warning\n{self.output}"))


def settings(root, destination, logs=""):
    values = {"MLFLOW_ARTIFACTS_DESTINATION": destination, "AIRFLOW_LOGS_DESTINATION": logs}
    return Settings(root, values, {})


def test_problems_of_a_usable_bucket_are_none(tmp_path):
    engine = Engine("{}")
    assert not list(object_store.problems(settings(tmp_path, WHERE), engine))
    argv = (*runtime_module("shared.s3"), "try", WHERE)
    assert engine.calls == [("mlflow", *argv, False)]


def test_problems_of_the_log_bucket_are_checked_in_the_worker(tmp_path):
    result = {"name": "bucket-key", "cause": "there is no key for it", "fix": "set it"}
    engine = Engine(json.dumps(result))
    [problem] = object_store.problems(settings(tmp_path, "/mlflow_data", "s3://logs/p"), engine)
    assert engine.calls[0][0] == "airflow-worker"
    assert problem.cause == "The task logs in s3://logs/p cannot be used: there is no key for it."


def test_refuse_unusable_does_not_check_a_folder(tmp_path):
    engine = Engine("no JSON")
    object_store.refuse_unusable(settings(tmp_path, "/mlflow_data"), engine)
    assert not engine.calls


def test_problems_uses_the_destination_that_services_run_with(tmp_path):
    engine = Engine("no JSON", MLFLOW_ARTIFACTS_DESTINATION="/mlflow_data")
    engine.current["AIRFLOW_LOGS_DESTINATION"] = ""
    assert not list(object_store.problems(settings(tmp_path, WHERE), engine))
    assert not engine.calls


def test_refuse_unusable_raises_the_fix_for_current_settings(tmp_path):
    result = {"name": "bucket-missing", "cause": "there is no such bucket", "fix": "make it"}
    engine = Engine(json.dumps(result))
    with pytest.raises(StackError, match=r": there is no such bucket\.\nRun: make it"):
        object_store.refuse_unusable(settings(tmp_path, WHERE), engine)
    assert engine.calls[0][-1]


def test_problems_raises_if_the_check_cannot_run(tmp_path):
    engine = Engine("")
    engine.command = lambda *_, **__: runner.Command(("sh", "-c", "echo broken; exit 1"))
    with pytest.raises(StackError, match="broken"):
        list(object_store.problems(settings(tmp_path, WHERE), engine))


def test_refuse_bucket_raises_only_for_completed_checks_with_problems():
    check = Future()
    readiness._refuse_bucket(check)
    check.set_result([Problem("bucket-full", "its server has no room", "make room", WHERE)])
    with pytest.raises(StackError, match=r"running, but .*\nits server has no room\nRun: make"):
        readiness._refuse_bucket(check)
    failed = Future()
    failed.set_exception(StackError("no engine"))
    readiness._refuse_bucket(failed)


LISTS = {
    "same": ("1/a 3 x", "1/b 4 y"),
    "more": ("1/a 3 x", "1/b 4 y", "2/c 5 z"),
    "changed": ("1/a 3 x", "1/b 4 other"),
    "lost": ("1/a 3 x",),
}


@pytest.fixture
def lists(tmp_path):
    for name, lines in LISTS.items():
        parts = [dict(zip(("name", "size", "etag"), line.split(), strict=True)) for line in lines]
        (tmp_path / name).write_text("".join(f"{json.dumps(part)}\n" for part in parts))
    return tmp_path


def test_refuse_lost_with_all_artifacts_returns_their_number(lists):
    for now in ("same", "more"):
        assert object_store.refuse_lost(lists / "same", lists / now, WHERE) == 2


@pytest.mark.parametrize("now", ["changed", "lost"])
def test_refuse_lost_with_changed_or_missing_artifacts_names_one(lists, now):
    with pytest.raises(StackError, match=f"1 of 2 artifacts in {WHERE} .*among them 1/b"):
        object_store.refuse_lost(lists / "same", lists / now, WHERE)
