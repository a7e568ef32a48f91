"""Test the graphs of the pipelines that are created for generated problems, and the canary's."""

import re

import pytest
from airflow.models.dag import DAG as SchedulersDAG
from airflow.models.dag import DataInterval
from airflow.timetables.base import TimeRestriction
from ml import estimators

from tests.ml.conftest import CHURN, SAMPLES

ROLES = ("monitoring", "scoring", "training")
EDGES = {
    "canary": {"round_trip": set()},
    "scoring": {"predictions": set()},
    "training": {
        "ingestion": {"features", "training", "validation"},
        "features": {"training", "validation"},
        "training": {"validation"},
        "validation": {"promotion"},
        "promotion": set(),
    },
    "monitoring": {
        "arrival": {"drift", "performance"},
        "drift": {"performance", "alerting", "retraining", "retrained"},
        "performance": {"alerting"},
        "alerting": {"retraining"},
        "retraining": {"retrained"},
        "retrained": set(),
    },
}
WATCHER = "alert_of_failure"


@pytest.fixture(params=sorted(EDGES))
def dag(request, bag):
    return bag.dags["canary" if request.param == "canary" else CHURN.dag(request.param)]


@pytest.fixture(params=ROLES)
def pipeline(request, bag):
    return bag.dags[CHURN.dag(request.param)]


def role(dag):
    return dag.dag_id.rpartition("_")[2]


def schedule(bag, problem):
    """Return the starts of the intervals for which monitoring is scheduled, ten at most."""
    dag = SchedulersDAG.from_sdk_dag(bag.dags[problem.dag("monitoring")])
    limits = TimeRestriction(dag.start_date, dag.end_date, catchup=True)
    starts, last = [], None
    while len(starts) < 10 and (
        info := dag.timetable.next_dagrun_info(
            last_automated_data_interval=last, restriction=limits
        )
    ):
        last = DataInterval(info.data_interval.start, info.data_interval.end)
        starts.append(last.start)
    return starts


def test_each_problem_has_three_dags(bag):
    names = {problem.dag(role) for problem in SAMPLES.values() for role in ROLES}
    assert (bag.import_errors, set(bag.dags)) == ({}, {*names, "canary"})


def test_edges(dag):
    edges = {task.task_id: task.downstream_task_ids - {WATCHER} for task in dag.tasks}
    expected = EDGES[role(dag)]
    assert {name: after for name, after in edges.items() if name != WATCHER} == expected


def test_dag_runs_from_now_on_and_one_run_at_a_time(dag):
    assert (dag.catchup, dag.is_paused_upon_creation, dag.max_active_runs) == (False, False, 1)


def test_dag_has_owner_limits_and_text(dag):
    assert dag.tags
    assert dag.doc_md
    assert dag.dagrun_timeout
    assert all(task.owner == "mlops" and task.execution_timeout for task in dag.tasks)


def test_page_of_a_dag_names_its_problem(pipeline):
    assert pipeline.doc_md.startswith("Which customers will leave?")
    assert {"problem:churn", role(pipeline)} == set(pipeline.tags)


def test_pipelines_retry_and_the_canary_does_not(dag):
    retries = {task.retries for task in dag.tasks}
    assert retries == ({0} if dag.dag_id == "canary" else {0, 2})


def test_failed_task_fails_the_run_after_an_alert(pipeline):
    watcher = pipeline.get_task(WATCHER)
    assert (watcher.trigger_rule, watcher.retries) == ("one_failed", 0)
    assert watcher.upstream_task_ids == set(EDGES[role(pipeline)])
    assert not watcher.downstream_task_ids


def test_no_task_has_a_callback(dag):
    # Airflow 3.0.1 would never end such a task after a kill, and not parse its file again.
    kinds = ("execute", "failure", "retry", "skipped", "success")
    assert not [
        task for task in dag.tasks for kind in kinds if getattr(task, f"on_{kind}_callback")
    ]


@pytest.mark.parametrize(
    ("name", "valid", "invalid"),
    [
        ("churn", ["2024-05"], ["2024", "2024-13", "05/2024", 5]),
        ("demand", ["2024-05-06"], ["2024-05", "2024-05-32"]),
        ("plants", ["2024-1.csv"], ["a/b"]),
    ],
)
@pytest.mark.parametrize(("role", "key"), [("monitoring", "period"), ("training", "until")])
def test_conf_accepts_a_period_and_nothing_else(bag, name, valid, invalid, role, key):
    params = bag.dags[SAMPLES[name].dag(role)].params
    for period in ("", None, *valid):
        params[key] = period
        params.validate()
    for value in invalid:
        with pytest.raises(Exception, match=re.escape(str(value))):
            params[key] = value


@pytest.mark.parametrize("name", sorted(SAMPLES))
def test_each_kind_of_model_has_a_task(bag, name):
    problem = SAMPLES[name]
    training = bag.dags[problem.dag("training")].get_task("training")
    assert tuple(training.op_kwargs_expand_input.value["kind"]) == problem.models
    assert set(problem.models) <= set(problem.function("models", lambda: estimators.STANDARD)())


def test_drift_starts_training_and_a_new_champion_monitoring(bag):
    links = {}
    for name in ("monitoring", "training"):
        dag = bag.dags[CHURN.dag(name)]
        conditions = dag.timetable.asset_condition.iter_assets()
        outlets = {out.name: task.task_id for task in dag.tasks for out in task.outlets}
        links[name] = ({asset.name for _, asset in conditions}, outlets)
    assert links == {
        "training": ({"churn-drift"}, {"churn-champion": "promotion"}),
        "monitoring": ({"churn-champion"}, {"churn-drift": "retraining"}),
    }


def test_two_runs_cannot_request_a_training_at_once(bag):
    task = bag.dags[CHURN.dag("monitoring")].get_task("retraining")
    assert task.max_active_tis_per_dag == 1
    assert [asset.name for asset in task.inlets] == [asset.name for asset in task.outlets]


def test_periods_with_data_are_scheduled_and_no_others(bag):
    starts = schedule(bag, CHURN)
    assert [start.strftime("%Y-%m") for start in starts] == [
        f"2024-{month:02}" for month in range(2, 12)
    ]


def test_scheduled_week_is_the_one_that_rows_belong_to(bag):
    starts = schedule(bag, SAMPLES["demand"])
    assert {start.strftime("%a %H:%M") for start in starts} == {"Mon 00:00"}
