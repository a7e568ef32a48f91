"""Test each problem in `dags/problems` in the same way, with its own rows."""

import subprocess
import sys
from pathlib import Path

import mlflow
import numpy as np
import pytest

from tests.support import mlflow_store
from tests.support.airflow_home import DAGS

from ml import Refused, data, problem, trial  # isort: skip

client, store, use = mlflow_store.client, mlflow_store.store, mlflow_store.use
NAMES = problem.names()
ROWS = 20_000
HEAVY = {"mlflow", "sklearn", "pandas", "pandera", "evidently", "matplotlib", "requests"}


@pytest.fixture(scope="module", params=NAMES)
def described(request):
    """Return the description of each problem."""
    return problem.load(request.param)


@pytest.fixture(scope="module")
def rows(described):
    """Return the problem's newest rows that are enough for a training."""
    if described.uri and not Path(described.uri).exists():
        pytest.skip(f"the rows of {described.name} are not on this machine: {described.uri}")
    rows = data.read(described)
    step = max(1, len(rows) // ROWS)
    return rows.iloc[::step]


@pytest.fixture(scope="module")
def bag():
    from airflow.models import DagBag

    return DagBag(DAGS, include_examples=False)


def test_dag_files_load_and_nothing_else_is_parsed(bag):
    assert bag.import_errors == {}
    files = {entry.file.rpartition("/")[2] for entry in bag.dagbag_stats}
    assert {name for name in files if not name.endswith("_pipelines.py")} == {"canary.py"}


def test_dag_file_is_parsed_in_less_than_0_3_seconds(bag):
    from airflow.models import DagBag

    # A second bag: Airflow itself is imported by now, as in the dag-processor.
    again = DagBag(DAGS, include_examples=False)
    seconds = {entry.file: entry.duration.total_seconds() for entry in again.dagbag_stats}
    assert max(seconds.values()) < 0.3, seconds


def test_parsing_imports_nothing_large():
    # What Airflow's own modules import is not counted.
    code = (
        "import sys, airflow.sdk, airflow.timetables.assets, airflow.timetables.interval\n"
        f"before = set(sys.modules)\nfor name in {[path.stem for path in DAGS.glob('*.py')]}:\n"
        f"    __import__(name); print(name, {HEAVY} & (set(sys.modules) - before))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=DAGS, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    lines = [line for line in done.stdout.splitlines() if line.endswith(("}", "set()"))]
    assert lines, done.stdout
    assert not [line for line in lines if not line.endswith("set()")]


def test_problem_has_three_dags(bag, described):
    names = {described.dag(role) for role in ("training", "monitoring", "scoring")}
    assert len(names) == 3
    assert names <= set(bag.dags)


def test_names_of_problems_and_models_are_unique():
    models = [problem.load(name).name for name in NAMES]
    assert len(set(models)) == len(models)


def test_own_rows_are_valid(described, rows):
    checked = data.check(described, rows)
    assert set(described.inputs) - set(checked) == set()
    assert len(data.labelled(described, checked)) > 0


def test_missing_column_is_refused(described, rows):
    required = [name for name, column in described.schema().columns.items() if column.required]
    for name in required:
        with pytest.raises(Refused, match="bad table"):
            data.check(described, rows.drop(columns=name))


def test_text_in_a_number_is_refused_with_its_row(described, rows):
    columns = described.schema().columns
    numbers = [name for name, column in columns.items() if "float" in str(column.dtype)]
    for name in numbers:
        bad = rows.head(50).astype({name: object})
        bad.loc[bad.index[7], name] = "far"
        with pytest.raises(Refused, match=rf"row {bad.index[7]}: {name}=far"):
            data.check(described, bad)


def test_models_train_predict_raw_rows_and_can_be_stored(described, rows):
    result = trial.run(described, rows)
    assert {"baseline", *described.models} == set(result["scores"])


def test_champion_of_the_registry_predicts_raw_rows(described, rows, client, tmp_path, monkeypatch):
    rows.drop(columns=data.BATCH, errors="ignore").to_parquet(tmp_path / "rows.parquet")
    monkeypatch.setenv(described.setting_name, str(tmp_path / "rows.parquet"))
    verdict = mlflow_store.train(described, tmp_path, "").verdict
    assert (verdict["alias"], verdict["version"]) == ("champion", "1")
    served = mlflow.pyfunc.load_model(f"models:/{described.name}@champion")
    raw = data.check(described, rows.head(20))
    assert len(np.asarray(served.predict(raw[list(described.inputs)]))) == 20
