"""The work, judged: what went well, went wrong, is under way, is not there yet, cannot be known."""

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


def judged(metadata=Metadata(), models=Models()):  # noqa: B008
    return {one.name: one for one in work.judged(metadata, models)}


def ran(state="success", begun=100.0, ended=40.0):
    return Run("manual__1", state, begun, ended)


def test_what_cannot_be_asked_is_unknown():
    verdicts = judged(None, None)
    assert list(verdicts) == work.names()
    assert {one.state for one in verdicts.values()} == {"unknown"}
    assert {one.detail for one in verdicts.values()} == {
        "PostgreSQL cannot tell",
        "MLflow cannot tell",
    }


def test_what_is_not_there_yet_is_none():
    verdicts = judged()
    states = {name: one.state for name, one in verdicts.items()}
    assert states == dict.fromkeys(work.names(), "none") | {"dag-files": "up"}
    assert verdicts["training"].detail == "no run yet"
    assert verdicts["champion"].detail == f"no version of {MODEL}"
    assert verdicts["drift"].detail == "no month was looked at yet"


def test_inactive_patches_are_listed_and_active_ones_are_not():
    assert "patches" not in judged()
    listed = judged(Metadata(inactive_patches={"a": "why", "b": "too"}))["patches"]
    assert (listed.state, listed.detail) == ("degraded", "2 not active: a: why; b: too")


@pytest.mark.parametrize(("name", "dag_id"), [*PIPELINES.items(), (CANARY, CANARY)])
@pytest.mark.parametrize(
    ("run", "state", "detail"),
    [
        (ran(), "up", "succeeded in 1 min"),
        (ran(begun=None, ended=40.0), "up", "succeeded in 0 s"),
        (ran("failed"), "down", "failed after 1 min"),
        (ran("running", ended=None), "running", "running for 1 min"),
        (ran("queued", 7200.0, None), "running", "queued for 2 h"),
        (ran("queued", None, None), "running", "queued"),
    ],
)
def test_the_newest_run_of_a_dag_is_judged(name, dag_id, run, state, detail):
    verdict = judged(Metadata(runs={dag_id: run}))[name]
    assert (verdict.state, verdict.detail) == (state, detail)
    if run.ended is None:
        assert verdict.seen is None
    else:
        assert time.time() - verdict.seen.timestamp() == pytest.approx(run.ended, abs=5)


def test_a_canary_that_came_back_tells_its_hops_in_its_order():
    hops = {"model": 0.1, "queued": 0.491, "unheard-of": 3.0, "run": 0.09}
    verdict = judged(Metadata(runs={CANARY: ran()}, hops=hops))[CANARY]
    assert verdict.detail == "queued 0.49 s, run 0.09 s, model 0.10 s"


def test_a_canary_that_failed_does_not_tell_the_hops_of_the_one_before():
    verdict = judged(Metadata(runs={CANARY: ran("failed")}, hops={"run": 0.1}))[CANARY]
    assert (verdict.state, verdict.detail) == ("down", "failed after 1 min")


@pytest.mark.parametrize(
    ("broken", "number", "state", "detail"),
    [
        ((), 0, "up", "all import, 3 DAGs"),
        ((("a.py", "E: x"),), 1, "down", "1 does not import: a.py: E: x"),
        ((("b.py", "E: y"), ("a.py", "-")), 30, "down", "30 do not import, the newest: b.py: E: y"),
    ],
)
def test_dag_files_are_well_only_if_all_import(broken, number, state, detail):
    verdict = judged(Metadata(broken=broken, broken_files=number, dags=3))["dag-files"]
    assert (verdict.state, verdict.detail) == (state, detail)


def test_long_names_and_reasons_are_cut():
    metadata = Metadata(broken=(("n" * 900, "r" * 900),), broken_files=1)
    assert len(judged(metadata)["dag-files"].detail) < 270


def test_a_champion_tells_its_version_data_and_figures():
    full = Version("3", "run3", "2013-05", {"log_loss": 0.5, "auc": 0.66357, "brier": 0.1})
    bare = Version("4", "run4", "", {})
    verdicts = judged(models=Models({"champion": full, "challenger": bare}))
    told = "version 3, data to 2013-05, auc 0.6636, log loss 0.5000"
    assert (verdicts["champion"].state, verdicts["champion"].detail) == ("up", told)
    assert (verdicts["challenger"].state, verdicts["challenger"].detail) == ("up", "version 4")


@pytest.mark.parametrize(
    ("share", "state"), [(0.0, "up"), (0.2499, "up"), (DRIFT_LIMIT, "degraded"), (1, "degraded")]
)
def test_drift_is_that_of_the_newest_month(share, state):
    verdict = judged(models=Models(drift={"2013-06": share, "2013-05": 1 - share}))["drift"]
    assert verdict.state == state
    assert verdict.detail == f"2013-06: {share:.0%} of the columns (limit 25%)"


@pytest.mark.parametrize(
    ("seconds", "words"),
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
def test_times_are_told_in_the_largest_fitting_unit(seconds, words):
    assert work.elapsed(seconds) == words


def test_names_are_told_in_one_order_and_none_twice():
    assert work_names() == [*work.names(), "backup", "disk"]
    assert len(set(work_names())) == len(work_names())


def test_the_names_and_the_limit_are_those_of_the_pipelines():
    shared, drift = ((DAGS / "ml" / name).read_text() for name in ("__init__.py", "drift.py"))
    [model] = re.findall(r'^MODEL_NAME = "(.+)"$', shared, re.MULTILINE)
    [ending] = re.findall(r'^MONITORING = f"\{MODEL_NAME\}(.+)"$', shared, re.MULTILINE)
    [limit] = re.findall(r"^SHARE_THRESHOLD = (.+)$", drift, re.MULTILINE)
    assert (model, model + ending, float(limit)) == (MODEL, MONITORING, DRIFT_LIMIT)


@pytest.mark.parametrize("dag_id", [*PIPELINES.values(), CANARY])
def test_the_runs_are_those_of_dags_that_there_are(dag_id):
    [(graph, decorator)] = [
        (each, decorator)
        for each in ast.parse((DAGS / f"{dag_id}.py").read_text()).body
        if isinstance(each, ast.FunctionDef)
        for decorator in each.decorator_list
        if ast.unparse(decorator).startswith("dag(")
    ]
    # A DAG is called as its function, unless it is called otherwise.
    assert graph.name == dag_id
    assert not decorator.args
    assert "dag_id" not in {keyword.arg for keyword in decorator.keywords}


def test_the_hops_are_those_the_proof_tells():
    assert work.HOPS == canary.HOPS
