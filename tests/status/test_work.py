"""The results of the work: good, bad, running, not there yet and unknown."""

import ast
import re
import time
from pathlib import Path

import pytest

from orchestration.health import canary
from status import work
from status.metadata import CANARY, PIPELINES, Metadata, Run
from status.models import DRIFT_LIMIT, MODEL, MONITORING, Models, Version
from status.probes import work_names

DAGS = Path("dags")


def verdicts_of(metadata=Metadata(), models=Models()):  # noqa: B008
    return {one.name: one for one in work.verdicts(metadata, models)}


def make_run(state="success", started=100.0, ended=40.0):
    return Run("manual__1", state, started, ended)


def test_verdicts_without_data_are_unknown():
    verdicts = verdicts_of(None, None)
    assert list(verdicts) == work.names()
    assert {one.state for one in verdicts.values()} == {"unknown"}
    assert {one.detail for one in verdicts.values()} == {
        "no data from PostgreSQL",
        "no data from MLflow",
    }


def test_verdicts_without_results_are_none():
    verdicts = verdicts_of()
    states = {name: one.state for name, one in verdicts.items()}
    assert states == dict.fromkeys(work.names(), "none") | {"dag-files": "up"}
    assert verdicts["training"].detail == "no run yet"
    assert verdicts["champion"].detail == f"no version of {MODEL}"
    assert verdicts["drift"].detail == "no month checked yet"


def test_patches_are_listed_only_if_inactive():
    assert "patches" not in verdicts_of()
    patches = verdicts_of(Metadata(inactive_patches={"a": "why", "b": "too"}))["patches"]
    assert (patches.state, patches.detail) == ("degraded", "2 not active: a: why; b: too")


@pytest.mark.parametrize(("name", "dag_id"), [*PIPELINES.items(), (CANARY, CANARY)])
@pytest.mark.parametrize(
    ("run", "state", "detail"),
    [
        (make_run(), "up", "succeeded in 1 min"),
        (make_run(started=None, ended=40.0), "up", "succeeded in 0 s"),
        (make_run("failed"), "down", "failed after 1 min"),
        (make_run("running", ended=None), "running", "running for 1 min"),
        (make_run("queued", 7200.0, None), "running", "queued for 2 h"),
        (make_run("queued", None, None), "running", "queued"),
    ],
)
def test_run_state_and_duration_are_shown(name, dag_id, run, state, detail):
    verdict = verdicts_of(Metadata(runs={dag_id: run}))[name]
    assert (verdict.state, verdict.detail) == (state, detail)
    if run.ended is None:
        assert verdict.seen is None
    else:
        assert time.time() - verdict.seen.timestamp() == pytest.approx(run.ended, abs=5)


def test_canary_that_succeeded_shows_its_hops_in_order():
    hops = {"model": 0.1, "queued": 0.491, "unexpected": 3.0, "run": 0.09}
    verdict = verdicts_of(Metadata(runs={CANARY: make_run()}, hops=hops))[CANARY]
    assert verdict.detail == "queued 0.49 s, run 0.09 s, model 0.10 s"


def test_canary_that_failed_shows_no_earlier_hops():
    verdict = verdicts_of(Metadata(runs={CANARY: make_run("failed")}, hops={"run": 0.1}))[CANARY]
    assert (verdict.state, verdict.detail) == ("down", "failed after 1 min")


@pytest.mark.parametrize(
    ("broken", "number", "state", "detail"),
    [
        ((), 0, "up", "3 DAGs, no import errors"),
        ((("a.py", "E: x"),), 1, "down", "1 import error: a.py: E: x"),
        ((("b.py", "E: y"), ("a.py", "-")), 30, "down", "30 import errors, newest: b.py: E: y"),
    ],
)
def test_dag_files_are_up_without_import_errors(broken, number, state, detail):
    verdict = verdicts_of(Metadata(broken=broken, broken_files=number, dags=3))["dag-files"]
    assert (verdict.state, verdict.detail) == (state, detail)


def test_dag_files_detail_is_shortened():
    metadata = Metadata(broken=(("n" * 900, "r" * 900),), broken_files=1)
    assert len(verdicts_of(metadata)["dag-files"].detail) < 270


def test_champion_shows_version_data_and_metrics():
    full = Version("3", "run3", "2013-05", {"log_loss": 0.5, "auc": 0.66357, "brier": 0.1})
    bare = Version("4", "run4", "", {})
    verdicts = verdicts_of(models=Models({"champion": full, "challenger": bare}))
    detail = "version 3, data to 2013-05, auc 0.6636, log loss 0.5000"
    assert (verdicts["champion"].state, verdicts["champion"].detail) == ("up", detail)
    assert (verdicts["challenger"].state, verdicts["challenger"].detail) == ("up", "version 4")


@pytest.mark.parametrize(
    ("share", "state"), [(0.0, "up"), (0.2499, "up"), (DRIFT_LIMIT, "degraded"), (1, "degraded")]
)
def test_drift_shows_the_newest_month(share, state):
    verdict = verdicts_of(models=Models(drift={"2013-06": share, "2013-05": 1 - share}))["drift"]
    assert verdict.state == state
    assert verdict.detail == f"2013-06: {share:.0%} of the columns (limit 25%)"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-3, "0 s"),
        (59.9, "59 s"),
        (60, "1 min"),
        (3599, "59 min"),
        (3600, "1 h"),
        (86399, "23 h"),
        (86400, "1 d"),
        (200000, "2 d"),
    ],
)
def test_elapsed_uses_the_largest_unit_that_fits(seconds, text):
    assert work.elapsed(seconds) == text


def test_work_names_are_ordered_and_unique():
    assert work_names() == [*work.names(), "backup", "disk"]
    assert len(set(work_names())) == len(work_names())


def test_model_names_and_limit_match_the_pipelines():
    shared, drift = ((DAGS / "ml" / name).read_text() for name in ("__init__.py", "drift.py"))
    [model] = re.findall(r'^MODEL_NAME = "(.+)"$', shared, re.MULTILINE)
    [suffix] = re.findall(r'^MONITORING = f"\{MODEL_NAME\}(.+)"$', shared, re.MULTILINE)
    [limit] = re.findall(r"^SHARE_THRESHOLD = (.+)$", drift, re.MULTILINE)
    assert (model, model + suffix, float(limit)) == (MODEL, MONITORING, DRIFT_LIMIT)


@pytest.mark.parametrize("dag_id", [*PIPELINES.values(), CANARY])
def test_runs_belong_to_existing_dags(dag_id):
    [(graph, decorator)] = [
        (each, decorator)
        for each in ast.parse((DAGS / f"{dag_id}.py").read_text()).body
        if isinstance(each, ast.FunctionDef)
        for decorator in each.decorator_list
        if ast.unparse(decorator).startswith("dag(")
    ]
    # Without arguments, the name of the function is the id of the DAG.
    assert graph.name == dag_id
    assert not decorator.args
    assert "dag_id" not in {keyword.arg for keyword in decorator.keywords}


def test_hops_match_the_canary_check():
    assert work.HOPS == canary.HOPS
