"""The canary's way into MLflow and back: a metric, an artifact and a model version.

The server is `MLFLOW_TRACKING_URI`, as everywhere in MLflow.
"""

import secrets
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from mlflow import MlflowClient
from mlflow.entities import Run, ViewType
from mlflow.exceptions import MlflowException
from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

CANARY = "stack-canary"
LEFTOVER_AFTER_SECONDS = 3600


def round_trip() -> dict[str, float]:
    """Write a metric, an artifact and a model version, read each back, and delete everything.

    Returns the seconds of each step. Raises RuntimeError if a value read differs from the one
    written. The traces of a failed round trip are kept for an hour. A later one deletes them.
    """
    seconds: dict[str, float] = {}
    client, token = MlflowClient(), secrets.token_hex(16)

    def timed(step: str, function: Callable[..., Run], *args: object) -> Run:
        start = time.perf_counter()
        run = function(client, *args)
        seconds[step] = round(time.perf_counter() - start, 3)
        return run

    run = timed("run", _create_run)
    timed("metric", _check_metric, run)
    timed("artifact", _check_artifact, run, token)
    timed("model", _check_model, run, token)
    timed("prune", _prune, run)
    return seconds


def _create_run(client: MlflowClient) -> Run:
    experiment = client.get_experiment_by_name(CANARY)
    if experiment and experiment.lifecycle_stage == "deleted":
        # The name stays taken, so without this no run could be created again.
        client.restore_experiment(experiment.experiment_id)
    return client.create_run(
        experiment.experiment_id if experiment else client.create_experiment(CANARY)
    )


def _require_same(subject: str, written: object, read: object) -> None:
    if written != read:
        raise RuntimeError(f"MLflow returned another {subject}: wrote {written!r}, read {read!r}")


def _check_metric(client: MlflowClient, run: Run) -> None:
    value = secrets.randbelow(10**6) / 1000
    client.log_metric(run.info.run_id, "canary", value)
    _require_same("metric", value, client.get_run(run.info.run_id).data.metrics.get("canary"))


def _check_artifact(client: MlflowClient, run: Run, token: str) -> None:
    client.log_text(run.info.run_id, token, "canary/token.txt")
    with tempfile.TemporaryDirectory() as folder:
        file = Path(client.download_artifacts(run.info.run_id, "canary/token.txt", folder))
        _require_same("artifact", token, file.read_text())


def _check_model(client: MlflowClient, run: Run, token: str) -> None:
    name, source = _model_name(run), f"{run.info.artifact_uri}/canary"
    client.create_registered_model(name)
    created = client.create_model_version(name, source, run.info.run_id, tags={"token": token})
    entry = client.get_model_version(name, created.version)
    _require_same("model version", (token, source), (entry.tags.get("token"), entry.source))


def _model_name(run: Run) -> str:
    # Everything of a run can be found from the run, and no two runs share anything.
    return f"{CANARY}-{run.info.run_id}"


def _prune(client: MlflowClient, run: Run) -> None:
    """Delete a run, and the runs that failed over an hour ago, with models and artifacts."""
    oldest = int((time.time() - LEFTOVER_AFTER_SECONDS) * 1000)
    query = f"attributes.start_time < {oldest}"
    experiments = [run.info.experiment_id]
    for one in [run, *client.search_runs(experiments, query, ViewType.ACTIVE_ONLY, 100)]:
        try:
            client.delete_registered_model(_model_name(one))
        except MlflowException as error:
            # A missing model is reported like one of another account.
            if error.error_code not in ("RESOURCE_DOES_NOT_EXIST", "PERMISSION_DENIED"):
                raise
        artifacts = get_artifact_repository(one.info.artifact_uri)
        if artifacts.list_artifacts():
            artifacts.delete_artifacts("canary")
        # Last, because the rest is found from it.
        client.delete_run(one.info.run_id)
