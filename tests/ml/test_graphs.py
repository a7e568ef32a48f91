import subprocess
import sys
from pathlib import Path

import pytest
from airflow.models import DagBag
from airflow.sdk import DAG

DAGS = Path(__file__).parents[2] / "dags"
EDGES = {
    "canary": {"round_trip": set()},
    "training_pipeline": {
        "ingestion": {"features", "training"},
        "features": {"training", "validation"},
        "training": {"validation"},
        "validation": set(),
    },
}


@pytest.fixture(scope="module")
def bag() -> DagBag:
    return DagBag(DAGS, include_examples=False)


def test_every_file_loads_and_only_graphs_are_parsed(bag: DagBag) -> None:
    assert bag.import_errors == {}
    assert {Path(one.file).name for one in bag.dagbag_stats} == {f"{name}.py" for name in EDGES}


@pytest.fixture(params=sorted(EDGES))
def dag(request: pytest.FixtureRequest, bag: DagBag) -> DAG:
    return bag.dags[request.param]


def test_edges(dag: DAG) -> None:
    assert {one.task_id: one.downstream_task_ids for one in dag.tasks} == EDGES[dag.dag_id]


def test_runs_when_triggered_and_only_then(dag: DAG) -> None:
    assert (dag.schedule, dag.catchup, dag.is_paused_upon_creation) == (None, False, False)
    assert dag.max_active_runs == 1


def test_somebody_owns_it_and_it_ends(dag: DAG) -> None:
    assert dag.tags
    assert dag.doc_md
    assert dag.dagrun_timeout
    assert all(one.owner == "mlops" and one.execution_timeout for one in dag.tasks)


def test_canary_never_retries_and_training_does(bag: DagBag) -> None:
    retries = {name: {one.retries for one in bag.dags[name].tasks} for name in EDGES}
    assert retries == {"canary": {0}, "training_pipeline": {2}}


def test_conf_has_a_schema(bag: DagBag) -> None:
    params = bag.dags["training_pipeline"].params
    assert params.dump() == {"seed": 42, "holdout_months": 3}
    with pytest.raises(Exception, match="not of type 'integer'"):
        params["seed"] = "many"


def test_training_updates_the_registered_model(bag: DagBag) -> None:
    outlets = bag.dags["training_pipeline"].get_task("training").outlets
    assert [one.name for one in outlets] == ["flight-delay"]


@pytest.mark.parametrize("name", sorted(EDGES))
def test_parsing_imports_nothing_heavy(name: str) -> None:
    heavy = {"mlflow", "sklearn", "pandas", "pandera"}
    code = f"import sys, {name}; print({heavy} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], cwd=DAGS, capture_output=True, text=True)
    assert done.stdout.strip() == "set()", done.stdout + done.stderr
