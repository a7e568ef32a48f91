import re
import subprocess
import sys
from pathlib import Path

import pytest
from airflow.models import DagBag

DAGS = Path(__file__).parents[2] / "dags"
EDGES = {
    "canary": {"round_trip": set()},
    "training_pipeline": {
        "ingestion": {"features", "training", "validation"},
        "features": {"training", "validation"},
        "training": {"validation"},
        "validation": {"promotion"},
        "promotion": set(),
    },
    "monitoring_pipeline": {
        "arrival": {"drift", "performance"},
        "drift": {"performance", "alerting", "retraining", "retrained"},
        "performance": {"alerting"},
        "alerting": {"retraining"},
        "retraining": {"retrained"},
        "retrained": set(),
    },
}
WATCHER = "alert_of_failure"
PIPELINES = ["monitoring_pipeline", "training_pipeline"]


@pytest.fixture(scope="module")
def bag():
    return DagBag(DAGS, include_examples=False)


def test_every_file_loads_and_only_graphs_are_parsed(bag):
    assert bag.import_errors == {}
    assert {Path(one.file).name for one in bag.dagbag_stats} == {f"{name}.py" for name in EDGES}


def test_each_file_is_parsed_in_less_than_0_3_seconds(bag):
    # A second bag: Airflow itself is imported by now, as in the dag-processor.
    again = DagBag(DAGS, include_examples=False)
    took = {one.file: one.duration.total_seconds() for one in again.dagbag_stats}
    assert max(took.values()) < 0.3, took


@pytest.fixture(params=sorted(EDGES))
def dag(request, bag):
    return bag.dags[request.param]


def test_edges(dag):
    edges = {one.task_id: one.downstream_task_ids - {WATCHER} for one in dag.tasks}
    assert {name: after for name, after in edges.items() if name != WATCHER} == EDGES[dag.dag_id]


def test_nothing_runs_for_a_past_nobody_asked_for(dag):
    assert (dag.catchup, dag.is_paused_upon_creation, dag.max_active_runs) == (False, False, 1)


def test_somebody_owns_it_and_it_ends(dag):
    assert dag.tags
    assert dag.doc_md
    assert dag.dagrun_timeout
    assert all(one.owner == "mlops" and one.execution_timeout for one in dag.tasks)


def test_canary_never_retries_and_the_pipelines_do(bag):
    retries = {name: {one.retries for one in bag.dags[name].tasks} for name in EDGES}
    assert retries == {"canary": {0}, **{name: {0, 2} for name in PIPELINES}}


@pytest.mark.parametrize("name", PIPELINES)
def test_a_task_that_fails_is_told_and_fails_the_run(bag, name):
    watcher = bag.dags[name].get_task(WATCHER)
    assert (watcher.trigger_rule, watcher.retries) == ("one_failed", 0)
    assert watcher.upstream_task_ids == set(EDGES[name])
    assert not watcher.downstream_task_ids


def test_no_task_has_a_callback(dag):
    # Airflow 3.0.1 would never end such a task after a kill, and not parse its file again.
    kinds = ("execute", "failure", "retry", "skipped", "success")
    assert not [one for one in dag.tasks for kind in kinds if getattr(one, f"on_{kind}_callback")]


@pytest.mark.parametrize(("name", "key"), [(PIPELINES[0], "month"), (PIPELINES[1], "until")])
def test_conf_takes_a_month_and_nothing_else(bag, name, key):
    params = bag.dags[name].params
    for month in ("", "2013-05"):
        params[key] = month
        params.validate()
    for wrong in ("2013", "2013-13", "05/2013", 5):
        with pytest.raises(Exception, match=re.escape(str(wrong))):
            params[key] = wrong


def test_each_kind_of_model_has_a_task(bag):
    from ml import model

    training = bag.dags["training_pipeline"].get_task("training")
    assert tuple(training.op_kwargs_expand_input.value["kind"]) == tuple(model.KINDS)


def test_drift_starts_training_and_a_new_champion_monitoring(bag):
    links = {
        name: (
            {asset.name for _, asset in bag.dags[name].timetable.asset_condition.iter_assets()},
            {out.name: one.task_id for one in bag.dags[name].tasks for out in one.outlets},
        )
        for name in PIPELINES
    }
    assert links == {
        "training_pipeline": ({"flight-delay-drift"}, {"flight-delay-champion": "promotion"}),
        "monitoring_pipeline": ({"flight-delay-champion"}, {"flight-delay-drift": "retraining"}),
    }


def test_two_runs_cannot_ask_for_training_at_once(bag):
    asking = bag.dags["monitoring_pipeline"].get_task("retraining")
    assert asking.max_active_tis_per_dag == 1
    assert [one.name for one in asking.inlets] == [one.name for one in asking.outlets]


def test_months_of_the_sample_are_scheduled_and_no_other(bag):
    from airflow.models.dag import DAG as SchedulersDAG
    from airflow.models.dag import DataInterval
    from airflow.timetables.base import TimeRestriction

    dag = SchedulersDAG.from_sdk_dag(bag.dags["monitoring_pipeline"])
    asked = TimeRestriction(dag.start_date, dag.end_date, catchup=True)
    months, last = [], None
    while info := dag.timetable.next_dagrun_info(
        last_automated_data_interval=last, restriction=asked
    ):
        last = DataInterval(info.data_interval.start, info.data_interval.end)
        months.append(last.start.strftime("%Y-%m"))
    assert months == [f"2013-{month:02}" for month in range(2, 13)]


def test_parsing_imports_nothing_heavy():
    heavy = {"mlflow", "sklearn", "pandas", "pandera", "evidently", "matplotlib", "requests"}
    # What Airflow's own modules load is not ours.
    code = (
        "import sys, airflow.sdk, airflow.timetables.assets, airflow.timetables.interval\n"
        f"before = set(sys.modules)\nfor name in {sorted(EDGES)}:\n"
        f"    __import__(name); print(name, {heavy} & (set(sys.modules) - before))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=DAGS, capture_output=True, text=True)
    told = done.stdout.strip().splitlines()[-len(EDGES) :]
    assert told == [f"{name} set()" for name in sorted(EDGES)], done.stdout + done.stderr
