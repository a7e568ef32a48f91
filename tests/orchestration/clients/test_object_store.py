"""A bucket as the host tool has it tried: whether it can be used, and holds what it held."""

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
    """Runs a program that prints what the trial printed."""

    def __init__(self, said, **held):
        self.said, self.asked, self.held = said, [], held

    def environment(self, service):
        return self.held

    def command(self, service, argv, *, anew=False):
        self.asked.append((service, *argv, anew))
        return runner.Command(("printf", "%s", f"a warning\n{self.said}"))


def settings(root, destination, logs=""):
    values = {"MLFLOW_ARTIFACTS_DESTINATION": destination, "AIRFLOW_LOGS_DESTINATION": logs}
    return Settings(root, values, {})


def test_a_bucket_that_can_be_used_is_no_finding(tmp_path):
    engine = Engine("{}")
    assert not list(object_store.findings(settings(tmp_path, WHERE), engine))
    asked = (*runtime_module("shared.s3"), "try", WHERE)
    assert engine.asked == [("mlflow", *asked, False)]


def test_the_bucket_of_task_logs_is_tried_where_they_are_written(tmp_path):
    told = {"name": "bucket-key", "cause": "there is no key for it", "fix": "set it"}
    engine = Engine(json.dumps(told))
    [found] = object_store.findings(settings(tmp_path, "/mlflow_data", "s3://logs/p"), engine)
    assert engine.asked[0][0] == "airflow-worker"
    assert found.cause == "The task logs in s3://logs/p cannot be used: there is no key for it."


def test_a_folder_is_not_tried_and_what_runs_with_the_place_that_it_was_started_with(tmp_path):
    chosen, engine = settings(tmp_path, WHERE), Engine("no JSON")
    object_store.refuse_unusable(settings(tmp_path, "/mlflow_data"), engine)
    assert not engine.asked
    engine = Engine("no JSON", MLFLOW_ARTIFACTS_DESTINATION="/mlflow_data")
    engine.held["AIRFLOW_LOGS_DESTINATION"] = ""
    assert not list(object_store.findings(chosen, engine))
    assert not engine.asked


def test_one_that_cannot_be_used_is_refused_with_its_fix_by_the_settings_of_now(tmp_path):
    told = {"name": "bucket-missing", "cause": "there is no such bucket", "fix": "make it"}
    engine = Engine(json.dumps(told))
    with pytest.raises(StackError, match=r": there is no such bucket\.\nRun: make it"):
        object_store.refuse_unusable(settings(tmp_path, WHERE), engine)
    assert engine.asked[0][-1]


def test_a_trial_that_fails_is_no_verdict(tmp_path):
    engine = Engine("")
    engine.command = lambda *_, **__: runner.Command(("sh", "-c", "echo broken; exit 1"))
    with pytest.raises(StackError, match="broken"):
        list(object_store.findings(settings(tmp_path, WHERE), engine))


def test_a_start_ends_where_nothing_but_the_bucket_is_in_the_way():
    trial = Future()
    readiness._refuse_bucket(trial)
    trial.set_result([Problem("bucket-full", "its server has no room", "make room", WHERE)])
    with pytest.raises(StackError, match=r"running, but .*\nits server has no room\nRun: make"):
        readiness._refuse_bucket(trial)
    failed = Future()
    failed.set_exception(StackError("no engine"))
    readiness._refuse_bucket(failed)


LISTS = {
    "as it was": ("1/a 3 x", "1/b 4 y"),
    "more": ("1/a 3 x", "1/b 4 y", "2/c 5 z"),
    "changed": ("1/a 3 x", "1/b 4 other"),
    "lost": ("1/a 3 x",),
}


@pytest.fixture
def lists(tmp_path):
    for what, lines in LISTS.items():
        parts = [dict(zip(("name", "size", "etag"), line.split(), strict=True)) for line in lines]
        (tmp_path / what).write_text("".join(f"{json.dumps(part)}\n" for part in parts))
    return tmp_path


def test_a_bucket_that_holds_what_a_backup_names_is_well(lists):
    for now in ("as it was", "more"):
        assert object_store.refuse_lost(lists / "as it was", lists / now, WHERE) == 2


@pytest.mark.parametrize("now", ["changed", "lost"])
def test_artifacts_that_are_gone_or_others_are_told_with_one_of_them(lists, now):
    with pytest.raises(StackError, match=f"1 of 2 artifacts in {WHERE} .*among them 1/b"):
        object_store.refuse_lost(lists / "as it was", lists / now, WHERE)
