"""Log trainings and monitored periods to MLflow, and read them back.

The server is `MLFLOW_TRACKING_URI`, as everywhere in MLflow.
"""

import os
import re
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

import mlflow
import pandas as pd
from mlflow import MlflowClient
from mlflow.entities import RunData

from ml import problem, registry, scores
from ml.problem import Problem

if TYPE_CHECKING:
    from matplotlib.figure import Figure

REFERENCE = "reference.parquet"
COMMIT = re.compile("[0-9a-f]{7,40}")
# Without it, MLflow's page asks which kind of experiment it is.
EXPERIMENT_KIND = {"mlflow.experimentKind": "custom_model_development"}
# Characters that metric names cannot contain, and their maximum length.
NOT_IN_NAMES, MAX_NAME = re.compile(r"[^\w.\- :]"), 250


@dataclass(frozen=True)
class Training:
    """The data of a training run, except the model."""

    params: Mapping[str, Any]
    metrics: Mapping[str, float]
    data_sha256: str
    figures: Mapping[str, "Figure"]
    by_period: pd.DataFrame
    reference: pd.DataFrame
    rows: pd.DataFrame


def log_training(
    problem: Problem, attempt: str, name: str, model: Any, example: pd.DataFrame, training: Training
) -> tuple[str, str]:
    """Log one training run with its model, and return its id and the model's URI.

    `attempt` is the same for each try of a task, and the run of an earlier try is deleted. `name`
    is for people. `example` contains raw rows.
    """
    from mlflow.data.pandas_dataset import from_pandas

    digest = training.data_sha256
    source = problem.uri if problem.uri.startswith("s3://") else None
    dataset = {"targets": problem.target, "name": problem.name, "digest": digest[:36]}
    with _run(problem, problem.name, attempt, name) as run:
        mlflow.log_params(dict(training.params))
        mlflow.log_metrics(_valid(training.metrics))
        mlflow.set_tags({"data_sha256": digest, **code_tags(problem)})
        mlflow.log_input(from_pandas(training.rows, source=source, **dataset), context="training")
        for folder, files in _sources(problem).items():
            for file in files:
                mlflow.log_artifact(str(file), f"code/{folder}")
        for file_name, figure in training.figures.items():
            mlflow.log_figure(figure, f"plots/{file_name}")
        mlflow.log_table(training.by_period, f"by_{problem.unit}.json")
        with tempfile.TemporaryDirectory() as folder:
            training.reference.to_parquet(Path(folder, REFERENCE))
            mlflow.log_artifacts(folder)
        logged = registry.log_model(problem, model, example)
    return run.info.run_id, logged.model_uri


def log_period(
    problem: Problem, name: str, metrics: Mapping[str, float], tags: Mapping[str, str], **texts: str
) -> str:
    """Log one monitored period with its reports (`drift_html=…`), and return the run's id.

    An earlier run with the same name is deleted.
    """
    with _run(problem, problem.monitoring, name, name) as run:
        mlflow.log_metrics(_valid(metrics))
        mlflow.set_tags(dict(tags))
        for key, text in texts.items():
            mlflow.log_text(text, key.replace("_", "."))
    return str(run.info.run_id)


def add_to(run_id: str, metrics: Any = (), tags: Any = (), figures: Any = ()) -> None:
    """Add metrics, tags and figures to a run, each a mapping by name."""
    client = MlflowClient()
    for name, value in dict(metrics).items():
        client.log_metric(run_id, name, value)
    for name, text in dict(tags).items():
        client.set_tag(run_id, name, text)
    for name, figure in dict(figures).items():
        client.log_figure(run_id, figure, name)


def monitored(problem: Problem) -> pd.DataFrame:
    """Return the periods with a metric as tags and metrics, by period, the latest run last."""
    metric = scores.metric_of(problem)
    runs = _runs(problem.monitoring)
    # Runs of older versions of this repository have no period.
    runs = [run for run in runs if metric in run.metrics and "period" in run.tags]
    rows = [{**run.tags, **run.metrics} for run in runs]
    table = pd.DataFrame(rows, columns=None if rows else ["period", metric])
    return table.sort_values("period", kind="stable")


def monitored_periods(problem: Problem) -> set[str]:
    """Return the periods that were monitored, with or without labels."""
    return {run.tags["period"] for run in _runs(problem.monitoring) if "period" in run.tags}


def validated(problem: Problem) -> pd.DataFrame:
    """Return every validated training, the last one last: period, metric, verdict."""
    metric = scores.metric_of(problem)
    runs = _runs(problem.name, "tags.verdict != ''")
    rows = [(run.params["until"], run.metrics[metric], run.tags["verdict"]) for run in runs]
    return pd.DataFrame(rows, columns=["period", metric, "verdict"])


def reference(run_id: str) -> pd.DataFrame:
    """Return the rows that a training run kept of those it was trained on, as features."""
    with tempfile.TemporaryDirectory() as folder:
        return pd.read_parquet(MlflowClient().download_artifacts(run_id, REFERENCE, folder))


def is_trained_for(problem: Problem, period: str) -> bool:
    """Return whether a model trained with the data up to a period has been validated."""
    return period in set(validated(problem)["period"])


def code_tags(problem: Problem) -> dict[str, str]:
    """Return tags with `CODE_VERSION`, or else a short hash, and the hash of the source."""
    files = [file for group in _sources(problem).values() for file in group]
    digest = sha256(b"".join(file.read_bytes() for file in files)).hexdigest()
    version = os.environ.get("CODE_VERSION") or digest[:12]
    return {"code_version": version, "source_sha256": digest}


def link(path: str = "", run_id: str = "") -> str:
    """Return the address of a page of MLflow, or of a run's page, for a browser."""
    if run_id:
        experiment = MlflowClient().get_run(run_id).info.experiment_id
        path = f"experiments/{experiment}/runs/{run_id}"
    server = os.environ.get("MLFLOW_PUBLIC_URL") or mlflow.get_tracking_uri()
    return f"{server}/#/{path}"


def experiment_id(name: str) -> str:
    """Return the id of an experiment. Create it if it is missing, restore it if it is deleted."""
    client = MlflowClient()
    experiment = client.get_experiment_by_name(name)
    if experiment and experiment.lifecycle_stage == "deleted":
        client.restore_experiment(experiment.experiment_id)
    return str(experiment.experiment_id if experiment else client.create_experiment(name))


def _run(problem: Problem, experiment: str, attempt: str, name: str) -> mlflow.ActiveRun:
    """Start a run in an experiment, and delete the run of an earlier try."""
    client = MlflowClient()
    number = experiment_id(experiment)
    # The status page reads the problem, its metric and its limit from these.
    tags = {
        **EXPERIMENT_KIND,
        "stack.problem": problem.name,
        "stack.metric": scores.metric_of(problem),
        "stack.drift_limit": str(problem.limits.share),
    }
    existing = client.get_experiment(number).tags
    for key, value in tags.items() - existing.items():
        client.set_experiment_tag(number, key, value)
    for run in client.search_runs([number], f"tags.attempt = '{attempt}'"):
        client.delete_run(run.info.run_id)
    source = f"dags/{problem.module.replace('.', '/')}"
    tags = {"attempt": attempt, "mlflow.source.name": source, "mlflow.source.type": "JOB"}
    version = os.environ.get("CODE_VERSION", "")
    tags |= {"mlflow.source.git.commit": version} if COMMIT.fullmatch(version) else {}
    return mlflow.start_run(experiment_id=number, run_name=name, tags=tags)


def _valid(metrics: Mapping[str, float]) -> dict[str, float]:
    """Return metrics with names that MLflow accepts: columns and files can have any name."""
    return {NOT_IN_NAMES.sub("_", name)[:MAX_NAME]: value for name, value in metrics.items()}


def _runs(experiment: str, query: str = "") -> list[RunData]:
    """Return the data of an experiment's runs, the newest last."""
    client = MlflowClient()
    entry = client.get_experiment_by_name(experiment)
    options = {"order_by": ["start_time ASC"], "max_results": 10_000}
    runs = client.search_runs([entry.experiment_id], query, **options) if entry else []
    return [run.data for run in runs]


def _sources(description: Problem) -> dict[str, list[Path]]:
    """Return the files that make a model, by folder."""
    name = description.module.rpartition(".")[2]
    own = [*problem.FOLDER.glob(f"{name}.py"), *problem.FOLDER.glob(f"{name}/*.py")]
    return {"ml": sorted(Path(__file__).parent.glob("*.py")), "problem": sorted(own)}
