"""The canary's way into MLflow and back: a metric, an artifact and a model version.

The server is `MLFLOW_TRACKING_URI`, as everywhere in MLflow.
"""

import secrets
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mlflow import MlflowClient
from mlflow.entities import Run, ViewType
from mlflow.exceptions import MlflowException
from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

CANARY = "stack-canary"
LEFTOVER_AFTER_SECONDS = 3600


def round_trip() -> dict[str, float]:
    """Write a metric, an artifact and a model version, read each back, prune; seconds per hop.

    Raises RuntimeError when something read differs from what was written. What a failed round
    trip leaves is kept for an hour to be looked at; the next one after that prunes it.
    """
    hops: dict[str, float] = {}
    client, token = MlflowClient(), secrets.token_hex(16)
    with _timed(hops, "run"):
        experiment = experiment_id(client, CANARY)
        run = client.create_run(experiment)
    with _timed(hops, "metric"):
        _metric_there_and_back(client, run)
    with _timed(hops, "artifact"):
        _artifact_there_and_back(client, run, token)
    with _timed(hops, "model"):
        _model_there_and_back(client, run, token)
    with _timed(hops, "prune"):
        for litter in [run, *_leftovers(client, experiment)]:
            _prune(client, litter)
    return hops


def experiment_id(client: MlflowClient, name: str) -> str:
    """Return the id of an experiment, made or brought back where it is not there."""
    found = client.get_experiment_by_name(name)
    if found is None:
        return str(client.create_experiment(name))
    if found.lifecycle_stage == "deleted":
        # Somebody tidied up in the UI; the name stays taken, so without this no run ever again.
        client.restore_experiment(found.experiment_id)
    return str(found.experiment_id)


@contextmanager
def _timed(hops: dict[str, float], name: str) -> Iterator[None]:
    start = time.perf_counter()
    yield
    hops[name] = round(time.perf_counter() - start, 3)


def _same(what: str, written: object, read: object) -> None:
    if written != read:
        raise RuntimeError(f"MLflow gave back another {what}: wrote {written!r}, read {read!r}")


def _metric_there_and_back(client: MlflowClient, run: Run) -> None:
    written = secrets.randbelow(10**6) / 1000
    client.log_metric(run.info.run_id, "canary", written)
    _same("metric", written, client.get_run(run.info.run_id).data.metrics.get("canary"))


def _artifact_there_and_back(client: MlflowClient, run: Run, token: str) -> None:
    client.log_text(run.info.run_id, token, "canary/token.txt")
    with tempfile.TemporaryDirectory() as folder:
        read = Path(client.download_artifacts(run.info.run_id, "canary/token.txt", folder))
        _same("artifact", token, read.read_text())


def _model_there_and_back(client: MlflowClient, run: Run, token: str) -> None:
    name = _model_name(run)
    client.create_registered_model(name)
    source = f"{run.info.artifact_uri}/canary"
    made = client.create_model_version(name, source, run.info.run_id, tags={"token": token})
    read = client.get_model_version(name, made.version)
    _same("model version", (token, source), (read.tags.get("token"), read.source))


def _model_name(run: Run) -> str:
    # A name per run: all of a run's litter follows from the run, and no two runs share any.
    return f"{CANARY}-{run.info.run_id}"


def _leftovers(client: MlflowClient, experiment: str) -> list[Run]:
    before = int((time.time() - LEFTOVER_AFTER_SECONDS) * 1000)
    old = f"attributes.start_time < {before}"
    return list(client.search_runs([experiment], old, ViewType.ACTIVE_ONLY, max_results=100))


def _prune(client: MlflowClient, run: Run) -> None:
    """Delete the run's model, artifacts and, last, the run itself: the way back to the others."""
    try:
        client.delete_registered_model(_model_name(run))
    except MlflowException as error:
        # One that is gone is refused like one of somebody else.
        if error.error_code not in ("RESOURCE_DOES_NOT_EXIST", "PERMISSION_DENIED"):
            raise
    artifacts = get_artifact_repository(run.info.artifact_uri)
    if artifacts.list_artifacts():
        artifacts.delete_artifacts("canary")
    client.delete_run(run.info.run_id)
