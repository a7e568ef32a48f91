"""The results of the work: good, bad, running, not there yet and unknown."""

import re
import time
from dataclasses import replace
from pathlib import Path

import pytest

from orchestration.health import canary
from status import work
from status.broker import Broker
from status.metadata import CANARY, Group, Metadata, Run
from status.models import DRIFT_LIMIT, Models, Version

MODEL = "flight-delay"
DAG_IDS = {"training": "training_pipeline", "monitoring": "monitoring_pipeline"}
PROBLEMS = {MODEL: DAG_IDS}
NAMES = ["canary", "training", "monitoring", "dag-files", "champion", "challenger", "drift"]


def verdicts_of(metadata=Metadata(), models=Models()):  # noqa: B008
    """Return the verdicts of one problem by name."""
    metadata = metadata and replace(metadata, problems=PROBLEMS)
    models = {MODEL: models} if models else models
    return {one.name: one for one in work.verdicts(metadata, models)}


def make_run(state="success", started=100.0, ended=40.0):
    return Run("manual__1", state, started, ended)


def test_verdicts_without_data_are_unknown():
    verdicts = {one.name: one for one in work.verdicts(None, None)}
    assert list(verdicts) == ["canary", "dag-files"]
    assert {one.state for one in verdicts.values()} == {"unknown"}
    assert {one.detail for one in verdicts.values()} == {"no data from PostgreSQL"}


def test_verdicts_without_one_source_name_the_problems_of_the_other():
    no_airflow = {one.name: one.state for one in work.verdicts(None, {MODEL: Models()})}
    assert list(no_airflow) == NAMES
    assert [no_airflow[name] for name in NAMES[:4]] == ["unknown"] * 4
    no_mlflow = {one.name: one for one in work.verdicts(Metadata(problems=PROBLEMS), None)}
    assert list(no_mlflow) == NAMES
    assert {no_mlflow[name].detail for name in NAMES[4:]} == {"no data from MLflow"}


def test_several_problems_have_their_names_in_their_results():
    both = {**PROBLEMS, "bikes": {"training": "bikes_training"}}
    metadata = Metadata(problems=both, runs={"bikes_training": make_run()})
    models = {"bikes": Models({}, {"2024-05": 0.5}, "rmse", 0.6)}
    verdicts = {one.name: one for one in work.verdicts(metadata, models)}
    assert list(verdicts)[:3] == ["canary", "training bikes", "monitoring bikes"]
    assert verdicts["training bikes"].state == "up"
    assert verdicts["monitoring bikes"].state == "none"
    assert verdicts["champion flight-delay"].detail == "no version of flight-delay"
    assert verdicts["drift bikes"].detail == "2024-05: 50% of the columns (limit 60%)"
    assert work.dag_ids(metadata, models)["training bikes"] == "bikes_training"


def test_verdicts_without_results_are_none():
    verdicts = verdicts_of()
    states = {name: one.state for name, one in verdicts.items()}
    assert states == dict.fromkeys(NAMES, "none") | {"dag-files": "up"}
    assert verdicts["training"].detail == "no run yet"
    assert verdicts["champion"].detail == f"no version of {MODEL}"
    assert verdicts["drift"].detail == "no period checked yet"


def test_patches_are_listed_only_if_inactive():
    assert "patches" not in verdicts_of()
    patches = verdicts_of(Metadata(inactive_patches={"a": "why", "b": "too"}))["patches"]
    assert (patches.state, patches.detail) == ("degraded", "2 not active: a: why; b: too")


def test_triggers_are_listed_only_if_idle():
    assert "triggers" not in verdicts_of()
    triggers = verdicts_of(Metadata(idle_triggers=3))["triggers"]
    assert (triggers.state, triggers.detail[:6]) == ("degraded", "3 wait")


def make_group(state="queued", seconds=0.0, queue="default", pool="default_pool", number=3):
    return Group(state, queue, pool, number, seconds, "slow")


def rare_verdicts(*groups, broker=None, **fields):
    """Return the verdicts that exist only during a fault."""
    metadata = Metadata(groups=groups, **fields)
    verdicts = {one.name: one for one in work.verdicts(metadata, {}, broker)}
    return {name: verdicts[name] for name in verdicts.keys() - set(NAMES)}


@pytest.mark.parametrize("state", ["running", "restarting"])
def test_silent_task_is_degraded(state):
    assert rare_verdicts(make_group(state, work.SILENT_SECONDS - 1)) == {}
    groups = make_group(state, 300, "gpu"), make_group("running", 1)
    [verdict] = rare_verdicts(*groups).values()
    assert (verdict.name, verdict.state) == ("silent-tasks", "degraded")
    assert verdict.detail == "a task of DAG slow has sent no heartbeat for 5 min"


def test_task_counts_as_silent_after_the_scheduler_should_have_ended_it():
    compose = Path("orchestration/docker-compose.yaml").read_text()
    patch = Path("orchestration/config/stack_runtime/airflow/patches/scheduling.py").read_text()
    [timeout] = re.findall(r'TASK_INSTANCE_HEARTBEAT_TIMEOUT: "(\d+)"', compose)
    [grace] = re.findall(r"(?m)^GRACE_SECONDS = ([\d.]+)$", patch)
    assert int(timeout) + float(grace) + 2 * 10 <= work.SILENT_SECONDS


BUSY = Broker(waiting=2, received=0, workers=1, free=0)
FREE = Broker(waiting=0, received=0, workers=1, free=1)
RUNNING = {"running": 4}


@pytest.mark.parametrize(
    ("group", "broker", "tasks", "reason"),
    [
        (make_group(seconds=599), BUSY, RUNNING, None),
        (make_group(seconds=700), BUSY, RUNNING, "all slots are busy"),
        (make_group(seconds=700), None, RUNNING, "all slots are busy"),
        (make_group(seconds=700), None, {}, "unknown reason"),
        (make_group(seconds=700), BUSY, {}, "unknown reason"),
        (make_group(seconds=700), Broker(3, 0, 0, 0), {}, "no worker is connected"),
        (make_group(seconds=179), FREE, {}, None),
        (make_group(seconds=200), FREE, {}, "a worker is free, but none is in Redis"),
        # The scheduler holds it back while it counts tasks of a dead worker as running.
        (make_group(seconds=200), FREE, RUNNING, None),
        (make_group(seconds=200), replace(FREE, waiting=1), {}, None),
        (make_group(seconds=200), replace(FREE, workers=0, free=0), {}, None),
        (make_group(seconds=200), None, {}, None),
        (make_group(seconds=200, queue="gpu"), FREE, {}, None),
        (
            make_group(seconds=200),
            replace(FREE, received=2),
            {},
            "a worker is free, but one that is gone has 2 of them",
        ),
        (make_group("scheduled", 700, pool="narrow"), BUSY, RUNNING, "pool narrow is full"),
        (make_group("scheduled", 599, pool="narrow"), BUSY, RUNNING, None),
        (make_group("scheduled", 700), BUSY, RUNNING, None),
        (make_group("running", 5), BUSY, RUNNING, None),
    ],
)
def test_tasks_that_wait_long_are_degraded_with_the_reason(group, broker, tasks, reason):
    verdicts = rare_verdicts(group, broker=broker, tasks=tasks, full_pools=["narrow"])
    if reason is None:
        assert verdicts == {}
        return
    age = "11 min" if group.seconds > 600 else "3 min"
    [verdict] = verdicts.values()
    assert (verdict.name, verdict.state) == ("waiting-tasks", "degraded")
    assert verdict.detail == f"3 waiting, the oldest for {age} (DAG slow): {reason}"


@pytest.mark.parametrize(("slots", "reasons"), [(0, []), (4, []), (3, ["all slots are busy"])])
def test_scheduled_tasks_wait_for_slots_if_all_are_busy(slots, reasons):
    tasks = {"running": 3}
    verdicts = rare_verdicts(make_group("scheduled", 700), tasks=tasks, slots=slots)
    assert [one.detail.rpartition(": ")[2] for one in verdicts.values()] == reasons


def test_waiting_tasks_show_the_oldest_that_waits_too_long():
    groups = make_group("scheduled", 9000), make_group(seconds=700), make_group(seconds=800)
    [verdict] = rare_verdicts(*groups, broker=BUSY).values()
    assert "13 min" in verdict.detail


def test_unserved_queues_are_degraded_and_not_late():
    groups = make_group(seconds=900, queue="gpu"), make_group(seconds=40, queue="big")
    broker = replace(BUSY, unserved=frozenset({"gpu", "big"}))
    [verdict] = rare_verdicts(*groups, broker=broker).values()
    detail = "6 waiting in big, gpu, which no worker serves (DAG slow)"
    assert (verdict.name, verdict.state, verdict.detail) == ("queues", "degraded", detail)


@pytest.mark.parametrize(
    ("groups", "broker", "before", "queues"),
    [
        ([make_group(seconds=30, queue="gpu")], FREE, (), {"gpu"}),
        ([make_group(seconds=29, queue="gpu")], FREE, (), ()),
        ([make_group(seconds=99)], FREE, (), ()),
        ([make_group("scheduled", 99, "gpu")], FREE, (), ()),
        # A busy worker may serve it.
        ([make_group(seconds=99, queue="gpu")], BUSY, (), ()),
        ([make_group(seconds=99, queue="gpu")], BUSY, {"gpu", "big"}, {"gpu"}),
        ([make_group(seconds=99, queue="gpu")], replace(FREE, workers=2), (), ()),
        ([make_group(seconds=99, queue="gpu")], replace(FREE, workers=0, free=0), (), {"gpu"}),
        (
            [make_group(seconds=99, queue="gpu"), make_group("running", 1, "gpu")],
            BUSY,
            {"gpu"},
            (),
        ),
    ],
)
def test_unserved_needs_a_worker_that_waits_for_messages(groups, broker, before, queues):
    assert work.unserved(Metadata(groups=groups), broker, frozenset(before)) == frozenset(queues)


def test_left_messages_are_those_beyond_the_running_tasks():
    broker = replace(BUSY, received=5)
    assert work.left_messages(Metadata(tasks={"running": 3, "restarting": 1}), broker) == 1
    assert work.left_messages(Metadata(tasks={"running": 9}), broker) == 0


@pytest.mark.parametrize(("name", "dag_id"), [*DAG_IDS.items(), (CANARY, CANARY)])
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


@pytest.mark.parametrize(("queued", "state"), [(59, "up"), (60, "degraded"), (150, "degraded")])
def test_canary_that_waited_is_degraded(queued, state):
    hops = {"queued": queued, "run": 0.09}
    verdict = verdicts_of(Metadata(runs={CANARY: make_run()}, hops=hops))[CANARY]
    assert verdict.state == state
    assert verdict.detail.endswith(f"queued {queued}.00 s, run 0.09 s")
    waited = f"waited {work.elapsed(queued)} in the queue; "
    assert verdict.detail.startswith(waited) == (state == "degraded")


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


def test_metric_that_decides_is_shown_first():
    version = Version("3", "run3", "", {"log_loss": 0.5, "auc": 0.7, "brier": 0.1})
    models = Models({"champion": version}, metric="brier")
    assert verdicts_of(models=models)["champion"].detail == "version 3, brier 0.1000, auc 0.7000"


def test_hops_match_the_canary_check():
    assert work.HOPS == canary.HOPS
    assert work.QUEUED_LIMIT_SECONDS == canary.QUEUED_LIMIT_SECONDS
