"""MLflow's model registry: versions of the registered model, and its two aliases."""

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import mlflow
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from ml import MODEL_NAME

# An alias nobody holds is INVALID_PARAMETER_VALUE in 3.17, a missing version is not found. A model
# that is not there is refused like one of somebody else, of which no version could be made either.
NOT_THERE = ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE", "PERMISSION_DENIED")


@dataclass(frozen=True)
class Registered:
    """A registered version, loaded: its model, and the run it was trained in."""

    version: str
    model: Any
    run_id: str
    params: Mapping[str, str]
    metrics: Mapping[str, float]

    def __str__(self) -> str:
        return f"version {self.version} ({self.params['model']}, data to {self.params['until']})"


def register(run_id: str, model_uri: str, tags: Mapping[str, str]) -> str:
    """Make a logged model a version of the registered model; return the version.

    Asked again for the same run, it returns the version that is there.
    """
    client = MlflowClient()
    for made in client.search_model_versions(f"run_id = '{run_id}'"):
        return str(made.version)
    return str(mlflow.register_model(model_uri, MODEL_NAME, tags=dict(tags)).version)


def load(version_or_alias: str) -> Registered | None:
    """Return the model of a version ("3") or an alias ("champion"); None where there is none."""
    client = MlflowClient()
    by_number = version_or_alias.isdigit()
    find = client.get_model_version if by_number else client.get_model_version_by_alias
    try:
        found = find(MODEL_NAME, version_or_alias)
    except MlflowException as error:
        if error.error_code in NOT_THERE:
            return None
        raise
    data = client.get_run(found.run_id).data
    model = load_logged(f"models:/{MODEL_NAME}/{found.version}")
    return Registered(str(found.version), model, found.run_id, data.params, data.metrics)


def load_logged(model_uri: str) -> Any:
    """Return a logged model as the server gives it back."""
    # A folder of ours: MLflow would leave its own behind in the worker, a copy for each load.
    with tempfile.TemporaryDirectory() as folder:
        return mlflow.sklearn.load_model(model_uri, dst_path=folder)


def award(alias: str, version: str) -> None:
    """Move `alias` (champion, challenger) to `version` of the registered model."""
    MlflowClient().set_registered_model_alias(MODEL_NAME, alias, version)
