"""MLflow's model registry: the versions of a registered model, and its two aliases."""

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import mlflow
from mlflow import MlflowClient
from mlflow.entities import RunData
from mlflow.exceptions import MlflowException

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


def register(name: str, run_id: str, model_uri: str, tags: Mapping[str, str]) -> str:
    """Register a logged model as a version of the model `name`, and return the version.

    A second call for the same run returns the existing version.
    """
    client = MlflowClient()
    for existing in client.search_model_versions(f"run_id = '{run_id}'"):
        return str(existing.version)
    return str(mlflow.register_model(model_uri, name, tags=dict(tags)).version)


def load(name: str, version_or_alias: str) -> Registered | None:
    """Return the model of a version ("3") or an alias ("champion"), or None if there is none."""
    client = MlflowClient()
    by_number = version_or_alias.isdigit()
    find = client.get_model_version if by_number else client.get_model_version_by_alias
    try:
        found = find(name, version_or_alias)
    except MlflowException as error:
        if error.error_code in NOT_THERE:
            return None
        raise
    data = client.get_run(found.run_id).data
    model = load_logged(f"models:/{name}/{found.version}")
    run = (found.run_id, data.params, data.metrics, data.tags)
    return Registered(str(found.version), model, *run)


def load_logged(model_uri: str) -> Any:
    """Return a logged model as the server returns it."""
    # MLflow would leave a folder of its own in the worker for each load.
    with tempfile.TemporaryDirectory() as folder:
        return mlflow.sklearn.load_model(model_uri, dst_path=folder)


def run_data(run_id: str) -> RunData:
    """Return the parameters, metrics and tags of a run."""
    data: RunData = MlflowClient().get_run(run_id).data
    return data


def set_alias(name: str, alias: str, version: str) -> None:
    """Move an alias (champion, challenger) to a version of the model `name`."""
    MlflowClient().set_registered_model_alias(name, alias, version)
