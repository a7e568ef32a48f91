"""Generated problems of each kind, with real Airflow and MLflow in folders of their own."""

import importlib
import shutil

import pytest

from tests.support import mlflow_store
from tests.support.airflow_home import DAGS

client, store, use = mlflow_store.client, mlflow_store.store, mlflow_store.use
SAMPLES = {
    name: importlib.import_module(f"tests.ml.samples.{name}").PROBLEM
    for name in ("churn", "demand", "plants")
}
CHURN = SAMPLES["churn"]
# The period up to which the first training uses rows, and the next one.
PERIODS = {
    "churn": ("2024-03", "2024-07"),
    "demand": ("2024-03-25", "2024-04-01"),
    "plants": ("2024-1.csv", "2024-2.csv"),
}


DAG_FILE = '''
"""The DAGs of {name}: Airflow finds training, monitoring and scoring here."""

import pipelines
from tests.ml.samples.{name} import PROBLEM

pipelines.create(PROBLEM)
'''


@pytest.fixture(scope="session")
def bag(tmp_path_factory):
    """Return Airflow's DAGs of the generated problems, and the canary."""
    from airflow.models import DagBag

    folder = tmp_path_factory.mktemp("dags")
    for name in SAMPLES:
        (folder / f"{name}_pipelines.py").write_text(DAG_FILE.format(name=name))
    shutil.copy(DAGS / "canary.py", folder)
    return DagBag(folder, include_examples=False)


@pytest.fixture(scope="session", params=sorted(SAMPLES))
def name(request):
    """The name of each sample, one after another."""
    return request.param


@pytest.fixture(scope="session")
def problem(name):
    """Each generated problem."""
    return SAMPLES[name]


@pytest.fixture(scope="session")
def periods(name):
    """The last period of the first training, and a later one."""
    return PERIODS[name]


@pytest.fixture(scope="session")
def params(problem):
    """Parameters of a training."""
    return {"seed": 42, "holdout": problem.holdout}


@pytest.fixture(scope="session")
def first(problem, periods, store, use, tmp_path_factory):
    """Return the first training of a problem on a new stack."""
    folder = tmp_path_factory.mktemp("first")
    with pytest.MonkeyPatch.context() as patch:
        use(store, folder, patch)
        return mlflow_store.train(problem, folder, periods[0])


@pytest.fixture
def after_first(first, use, tmp_path, monkeypatch):
    """Return a client of the MLflow that `first` wrote, in a copy."""
    monkeypatch.setenv("DATA_DIR", str(tmp_path / "data"))
    return use(first.database, tmp_path, monkeypatch)
