"""Models in MLflow: stored with their features, registered as versions with two aliases."""

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import mlflow
import pandas as pd
import skops.io
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException
from mlflow.models import ModelSignature, infer_signature
from mlflow.types import DataType
from mlflow.types.schema import AnyType, ColSpec, Schema

from ml import Refused, carried, model
from ml.problem import Problem
from ml.scores import Predictions

# A skops file is loaded with these types only, in addition to those that skops trusts.
TRUSTED = ("sklearn.", "numpy.", "functools.partial")
NUMBERS = (DataType.integer, DataType.long, DataType.float, DataType.double)
NEEDED_TO_LOAD = ("scikit-learn", "skops", "pandas")
# The codes of MLflow 3.17 for an alias without version, a missing version, and a missing model,
# which is reported like a model of another account.
NOT_THERE = ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE", "PERMISSION_DENIED")


@dataclass(frozen=True)
class Registered:
    """A registered version with its model and the run that trained it."""

    version: str
    model: Any
    run_id: str
    params: Mapping[str, str]
    metrics: Mapping[str, float]
    tags: Mapping[str, str]

    def __str__(self) -> str:
        return f"version {self.version} ({self.params['model']}, data to {self.params['until']})"


def register(name: str, run_id: str, uri: str, alias: str, tags: Mapping[str, str]) -> str:
    """Register a logged model as a version of the model `name` with an alias; return the version.

    A second call for the same run moves the alias to the existing version.
    """
    client = MlflowClient()
    existing = client.search_model_versions(f"run_id = '{run_id}'")
    entry = existing[0] if existing else mlflow.register_model(uri, name, tags=dict(tags))
    client.set_registered_model_alias(name, alias, entry.version)
    return str(entry.version)


def load(name: str, version_or_alias: str) -> Registered | None:
    """Return the model of a version ("3") or an alias ("champion"), or None if there is none."""
    client = MlflowClient()
    by_number = version_or_alias.isdigit()
    get = client.get_model_version if by_number else client.get_model_version_by_alias
    try:
        entry = get(name, version_or_alias)
    except MlflowException as error:
        if error.error_code in NOT_THERE:
            return None
        raise
    run = client.get_run(entry.run_id).data
    fitted = load_logged(f"models:/{name}/{entry.version}")
    facts = (run.params, run.metrics, run.tags)
    return Registered(str(entry.version), fitted, entry.run_id, *facts)


def require(problem: Problem, version_or_alias: str) -> Registered:
    """Return a problem's model of a version or an alias. Raises Refused if there is none."""
    registered = load(problem.name, version_or_alias)
    if registered is None:
        command = f"inv trigger {problem.dag('training')} --wait"
        raise Refused(f"{problem.name} has no {version_or_alias}. Train one first: {command}")
    return registered


def load_logged(model_uri: str) -> Any:
    """Return a logged model as the server returns it."""
    # MLflow would leave a folder of its own in the worker for each load.
    with tempfile.TemporaryDirectory() as folder:
        return mlflow.sklearn.load_model(model_uri, dst_path=folder)


def log_model(problem: Problem, fitted: Any, example: pd.DataFrame) -> Any:
    """Add a model to the active run, and return MLflow's description of it."""
    features = carried.of(problem)
    predict = "predict" if problem.kind == "regression" else "predict_proba"
    packages = (*NEEDED_TO_LOAD, *problem.packages)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, f"{features.module.__name__}.py")
        file.write_text(features.source, encoding="utf-8")
        return mlflow.sklearn.log_model(
            fitted,
            name="model",
            signature=_signature(problem, example, getattr(fitted, predict)(example)),
            input_example=example,
            pyfunc_predict_fn=predict,
            skops_trusted_types=trusted_types(problem, fitted),
            code_paths=[str(file)],
            # Otherwise MLflow starts a process that imports everything again.
            pip_requirements=[f"{name}=={version(name)}" for name in packages],
        )


def trusted_types(problem: Problem, fitted: Any) -> list[str]:
    """Return the types in a model that skops does not know. Raises Refused for unexpected ones."""
    types = skops.io.get_untrusted_types(data=skops.io.dumps(fitted))
    expected = {f"{carried.of(problem).module.__name__}.make", *problem.trusted}
    other = [name for name in types if name not in expected and not name.startswith(TRUSTED)]
    if other:
        raise Refused(
            f"the model contains types that are not trusted: {', '.join(other)}. "
            f"Add them to `trusted` in {problem.module} if you trust their library"
        )
    return sorted(types)


def require_storable(
    problem: Problem, fitted: Any, rows: pd.DataFrame, predictions: Predictions
) -> None:
    """Store and load a model as MLflow does. Raises Refused if its predictions change."""
    types = trusted_types(problem, fitted)
    again = skops.io.loads(skops.io.dumps(fitted), trusted=types)
    if (model.predict(problem, again, rows).values != predictions.values).any():
        raise Refused("the stored model predicts other values than the model before")


def _signature(problem: Problem, example: pd.DataFrame, predictions: Any) -> ModelSignature:
    inferred = infer_signature(example, predictions)
    required = {name: column.required for name, column in problem.schema().columns.items()}
    # MLflow would refuse a column of whole numbers where it expects others, and vice versa.
    columns = [ColSpec(AnyType() if column.type in NUMBERS else column.type, column.name,
                       required[column.name]) for column in inferred.inputs]  # fmt: skip
    return ModelSignature(Schema(columns), inferred.outputs)
