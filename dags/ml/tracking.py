"""Log trainings and monitored periods to MLflow, and read them back.

The server is `MLFLOW_TRACKING_URI`, as everywhere in MLflow.
"""

import os
import re
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import mlflow
import pandas as pd
from mlflow import MlflowClient
from mlflow.entities import RunData
from mlflow.models import ModelSignature, infer_signature
from mlflow.types.schema import ColSpec, Schema

from ml import Refused, carried, problem, scores
from ml.problem import Problem
from ml.round_trip import experiment_id

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# A skops file is loaded with these types only, besides those that skops trusts.
TRUSTED = ("sklearn.", "numpy.", "functools.partial")
REFERENCE = "reference.parquet"
NEEDED_TO_LOAD = ("scikit-learn", "skops", "pandas")
COMMIT = re.compile("[0-9a-f]{7,40}")
# Otherwise MLflow's page asks which kind of experiment it is.
EXPERIMENT_KIND = {"mlflow.experimentKind": "custom_model_development"}


@dataclass(frozen=True)
class Attempt:
    """Names of a run: `id` is the same for each try of a task, `name` is shown to people."""

    id: str
    name: str


@dataclass(frozen=True)
class Training:
    """What a training logs besides its model."""

    params: Mapping[str, Any]
    metrics: Mapping[str, float]
    tags: Mapping[str, str]
    figures: Mapping[str, "Figure"]
    by_period: pd.DataFrame
    reference: pd.DataFrame
    rows: pd.DataFrame


def log_training(
    problem: Problem, attempt: Attempt, model: Any, example: pd.DataFrame, training: Training
) -> tuple[str, str]:
    """Log one training run with its model, and return its id and the model's URI.

    The run of an earlier try of the task is deleted. `example` contains raw rows.
    """
    with _run(problem, problem.name, attempt) as run:
        mlflow.log_params(dict(training.params))
        mlflow.log_metrics(dict(training.metrics))
        mlflow.set_tags({**training.tags, "code_version": code_version(problem)})
        mlflow.log_input(_dataset(problem, training), context="training")
        for folder, files in _sources(problem).items():
            for file in files:
                mlflow.log_artifact(str(file), f"code/{folder}")
        for name, figure in training.figures.items():
            mlflow.log_figure(figure, f"plots/{name}")
        mlflow.log_table(training.by_period, f"by_{problem.unit}.json")
        with tempfile.TemporaryDirectory() as folder:
            training.reference.to_parquet(Path(folder, REFERENCE))
            mlflow.log_artifacts(folder)
        logged = _log_model(problem, model, example)
    return run.info.run_id, logged.model_uri


def log_period(
    problem: Problem,
    attempt: Attempt,
    *,
    metrics: Mapping[str, float],
    tags: Mapping[str, str],
    texts: Mapping[str, str],
) -> str:
    """Log one monitored period with its reports (file name to text), and return the run's id."""
    with _run(problem, problem.monitoring, attempt) as run:
        mlflow.log_metrics(dict(metrics))
        mlflow.set_tags(dict(tags))
        for name, text in texts.items():
            mlflow.log_text(text, name)
    return str(run.info.run_id)


def add_to(run_id: str, metrics: Mapping[str, float], tags: Mapping[str, str]) -> None:
    """Add metrics and tags to a run."""
    client = MlflowClient()
    for name, value in metrics.items():
        client.log_metric(run_id, name, value)
    for name, text in tags.items():
        client.set_tag(run_id, name, text)


def add_figure(run_id: str, figure: "Figure", name: str) -> None:
    """Add a picture to a run."""
    MlflowClient().log_figure(run_id, figure, name)


def monitored(problem: Problem) -> pd.DataFrame:
    """Return every result of a period, sorted by period, the last result last: tags and metrics."""
    metric = scores.metric_of(problem)
    runs = _runs(problem, problem.monitoring)
    rows = [{**run.tags, **run.metrics} for run in runs if metric in run.metrics]
    table = pd.DataFrame(rows, columns=None if rows else ["period", metric])
    return table.sort_values("period", kind="stable")


def monitored_periods(problem: Problem) -> set[str]:
    """Return the periods that were monitored, with or without labels."""
    return {
        run.tags["period"] for run in _runs(problem, problem.monitoring) if "period" in run.tags
    }


def validated(problem: Problem) -> pd.DataFrame:
    """Return every validated training, the last one last: period, metric, verdict."""
    metric = scores.metric_of(problem)
    runs = _runs(problem, problem.name, "tags.verdict != ''")
    rows = [(run.params["until"], run.metrics[metric], run.tags["verdict"]) for run in runs]
    return pd.DataFrame(rows, columns=["period", metric, "verdict"])


def reference(run_id: str) -> pd.DataFrame:
    """Return the rows that a training run kept of those it was trained on, as features."""
    with tempfile.TemporaryDirectory() as folder:
        return pd.read_parquet(MlflowClient().download_artifacts(run_id, REFERENCE, folder))


def is_trained_for(problem: Problem, period: str) -> bool:
    """Return whether a model trained with the data up to a period has been validated."""
    query = f"params.until = '{period}' and tags.verdict != ''"
    return bool(_runs(problem, problem.name, query))


def code_version(described: Problem) -> str:
    """Return `CODE_VERSION`, or a hash of the source that makes the model."""
    files = [file for group in _sources(described).values() for file in group]
    source = sha256(b"".join(file.read_bytes() for file in files))
    return os.environ.get("CODE_VERSION") or source.hexdigest()[:12]


def link(path: str) -> str:
    """Return the address of a page of MLflow for a browser."""
    server = os.environ.get("MLFLOW_PUBLIC_URL") or mlflow.get_tracking_uri()
    return f"{server}/#/{path}"


def link_to_run(run_id: str) -> str:
    """Return the address of a run's page."""
    return link(f"experiments/{MlflowClient().get_run(run_id).info.experiment_id}/runs/{run_id}")


def _experiment(problem: Problem, name: str) -> str:
    """Return an experiment's id. Its tags tell the status page about the problem."""
    client = MlflowClient()
    found = experiment_id(client, name)
    tags = {
        **EXPERIMENT_KIND,
        "stack.problem": problem.name,
        "stack.metric": scores.metric_of(problem),
        "stack.drift_limit": str(problem.limits.share),
    }
    existing = client.get_experiment(found).tags
    for key, value in tags.items():
        if existing.get(key) != value:
            client.set_experiment_tag(found, key, value)
    return found


def _run(problem: Problem, experiment: str, attempt: Attempt) -> mlflow.ActiveRun:
    """Start a run, and delete one of an earlier try."""
    client = MlflowClient()
    found = _experiment(problem, experiment)
    for left in client.search_runs([found], f"tags.attempt = '{attempt.id}'"):
        client.delete_run(left.info.run_id)
    version = os.environ.get("CODE_VERSION", "")
    tags = {
        "attempt": attempt.id,
        "mlflow.source.name": f"dags/{problem.module.replace('.', '/')}",
        "mlflow.source.type": "JOB",
    }
    tags |= {"mlflow.source.git.commit": version} if COMMIT.fullmatch(version) else {}
    return mlflow.start_run(experiment_id=found, run_name=attempt.name, tags=tags)


def _runs(problem: Problem, experiment: str, query: str = "") -> list[RunData]:
    """Return the data of an experiment's runs, the newest last."""
    client = MlflowClient()
    found = client.get_experiment_by_name(experiment)
    if found is None:
        return []
    runs = client.search_runs(
        [found.experiment_id], query, order_by=["start_time ASC"], max_results=10_000
    )
    return [run.data for run in runs]


def _sources(described: Problem) -> dict[str, list[Path]]:
    """Return the files that make a model, by folder."""
    name = described.module.rpartition(".")[2]
    folder, file = problem.FOLDER / name, problem.FOLDER / f"{name}.py"
    own = sorted(folder.glob("*.py")) if folder.is_dir() else [file] if file.exists() else []
    return {"ml": sorted(Path(__file__).parent.glob("*.py")), "problem": own}


def _dataset(problem: Problem, training: Training) -> Any:
    from mlflow.data.pandas_dataset import from_pandas

    digest = training.tags["data_sha256"][:36]
    source = problem.uri if problem.uri.startswith("s3://") else None
    return from_pandas(
        training.rows, source=source, targets=problem.target, name=problem.name, digest=digest
    )


def _log_model(
    problem: Problem, model: Any, example: pd.DataFrame
) -> mlflow.models.model.ModelInfo:
    features = carried.of(problem)
    own = features.module.__name__
    predict = "predict" if problem.kind == "regression" else "predict_proba"
    packages = (*NEEDED_TO_LOAD, *problem.packages)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, f"{own}.py")
        file.write_text(features.source, encoding="utf-8")
        return mlflow.sklearn.log_model(
            model,
            name="model",
            signature=_signature(problem, example, getattr(model, predict)(example)),
            input_example=example,
            pyfunc_predict_fn=predict,
            skops_trusted_types=trusted_types(problem, model),
            code_paths=[str(file)],
            # Otherwise MLflow starts a process that imports everything again.
            pip_requirements=[f"{name}=={version(name)}" for name in packages],
        )


def trusted_types(problem: Problem, model: Any) -> list[str]:
    """Return the types in a model that skops does not know. Raises Refused for unexpected ones."""
    import skops.io

    own = f"{carried.of(problem).module.__name__}.make"
    found = skops.io.get_untrusted_types(data=skops.io.dumps(model))
    expected = {own, *problem.trusted}
    if other := [one for one in found if one not in expected and not one.startswith(TRUSTED)]:
        raise Refused(
            f"the model contains types that are not trusted: {', '.join(other)}. "
            f"Add them to `trusted` in {problem.module} if you trust their library"
        )
    return sorted(found)


def _signature(problem: Problem, example: pd.DataFrame, predictions: Any) -> ModelSignature:
    found = infer_signature(example, predictions)
    required = {name: column.required for name, column in problem.schema().columns.items()}
    columns = [ColSpec(one.type, one.name, required[one.name]) for one in found.inputs]
    return ModelSignature(Schema(columns), found.outputs)
