"""MLflow: training runs, and months that were looked at.

The server is `MLFLOW_TRACKING_URI`, as everywhere in MLflow.
"""

import os
import tempfile
from collections.abc import Mapping
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

from ml import MODEL_NAME, MONITORING, carried
from ml.features import WEATHER
from ml.round_trip import experiment_id

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Loading a skops file builds only the types named here: the trees, what stands in their own
# preparation of categories (partial and its function), and what an imputer remembers.
TRUSTED_TYPES = [
    "sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor",
    "sklearn.utils.validation.check_array",
    "functools.partial",
    "numpy.dtype",
]
REFERENCE = "reference.parquet"
NEEDED_TO_LOAD = ("scikit-learn", "skops", "pandas")


def log_training(
    attempt: str,
    model: Any,
    example: pd.DataFrame,
    *,
    params: Mapping[str, Any],
    metrics: Mapping[str, float],
    tags: Mapping[str, str],
    figures: Mapping[str, "Figure"],
    monthly: pd.DataFrame,
    reference: pd.DataFrame,
) -> tuple[str, str]:
    """Log one training run with its model; return (run id, model URI).

    `attempt` names the task: what an earlier try of it left is deleted. `example` holds raw
    flights, `reference` what later months are compared with.
    """
    with _run(MODEL_NAME, attempt) as run:
        mlflow.log_params(dict(params))
        mlflow.log_metrics(dict(metrics))
        mlflow.set_tags({**tags, "code_version": code_version()})
        for file in _source():
            mlflow.log_artifact(str(file), "code")
        for name, figure in figures.items():
            mlflow.log_figure(figure, f"plots/{name}")
        mlflow.log_table(monthly, "monthly.json")
        with tempfile.TemporaryDirectory() as folder:
            reference.to_parquet(Path(folder, REFERENCE))
            mlflow.log_artifacts(folder)
        logged = _log_model(model, example)
    return run.info.run_id, logged.model_uri


def log_month(
    attempt: str, *, metrics: Mapping[str, float], tags: Mapping[str, str], texts: Mapping[str, str]
) -> str:
    """Log one monitored month with its reports (file name to text); return the run id."""
    with _run(MONITORING, attempt) as run:
        mlflow.log_metrics(dict(metrics))
        mlflow.set_tags(dict(tags))
        for name, text in texts.items():
            mlflow.log_text(text, name)
    return str(run.info.run_id)


def add_to(run_id: str, metrics: Mapping[str, float], tags: Mapping[str, str]) -> None:
    """Add metrics and tags to a run that was logged."""
    client = MlflowClient()
    for name, value in metrics.items():
        client.log_metric(run_id, name, value)
    for name, text in tags.items():
        client.set_tag(run_id, name, text)


def add_figure(run_id: str, figure: "Figure", name: str) -> None:
    """Add a picture to a run that was logged."""
    MlflowClient().log_figure(run_id, figure, name)


def monitored() -> pd.DataFrame:
    """Return every look at a month, the last look at each month last: tags and metrics."""
    rows = [{**run.tags, **run.metrics} for run in _runs(MONITORING) if "auc" in run.metrics]
    table = pd.DataFrame(rows, columns=None if rows else ["month", "auc"])
    return table.sort_values("month", kind="stable")


def judged() -> pd.DataFrame:
    """Return every training that was judged, the last one last: month, auc, verdict."""
    found = _runs(MODEL_NAME, "tags.verdict != ''")
    rows = [(run.params["until"], run.metrics["auc"], run.tags["verdict"]) for run in found]
    return pd.DataFrame(rows, columns=["month", "auc", "verdict"])


def reference(run_id: str) -> pd.DataFrame:
    """Return the flights that a training run kept of those it was trained on."""
    with tempfile.TemporaryDirectory() as folder:
        return pd.read_parquet(MlflowClient().download_artifacts(run_id, REFERENCE, folder))


def trained_for(month: str) -> bool:
    """Whether a model trained with the data up to `month` has been judged."""
    return bool(_runs(MODEL_NAME, f"params.until = '{month}' and tags.verdict != ''"))


def code_version() -> str:
    """Return `CODE_VERSION`, else a hash of this folder's source: equal for equal code."""
    source = sha256(b"".join(file.read_bytes() for file in _source()))
    return os.environ.get("CODE_VERSION") or source.hexdigest()[:12]


def link(path: str) -> str:
    """Return the address of a page of MLflow as a person's browser reaches it."""
    server = os.environ.get("MLFLOW_PUBLIC_URL") or mlflow.get_tracking_uri()
    return f"{server}/#/{path}"


def link_to_run(run_id: str) -> str:
    """Return the address of a run's page."""
    return link(f"experiments/{MlflowClient().get_run(run_id).info.experiment_id}/runs/{run_id}")


def _run(experiment: str, attempt: str) -> mlflow.ActiveRun:
    """Start a run; one of the same `attempt` is what a task that died left behind."""
    client = MlflowClient()
    found = experiment_id(client, experiment)
    for left in client.search_runs([found], f"tags.attempt = '{attempt}'"):
        client.delete_run(left.info.run_id)
    return mlflow.start_run(experiment_id=found, run_name=attempt, tags={"attempt": attempt})


def _runs(experiment: str, query: str = "") -> list[RunData]:
    """Return what the runs of an experiment hold, the newest last."""
    client = MlflowClient()
    experiments = [experiment_id(client, experiment)]
    runs = client.search_runs(experiments, query, order_by=["start_time ASC"])
    return [run.data for run in runs]


def _source() -> list[Path]:
    return sorted(Path(__file__).parent.glob("*.py"))


def _log_model(model: Any, example: pd.DataFrame) -> mlflow.models.model.ModelInfo:
    own = carried.features_of_its_own().__name__
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, f"{own}.py")
        file.write_text(carried.source(), encoding="utf-8")
        return mlflow.sklearn.log_model(
            model,
            name="model",
            signature=_signature(example, model.predict_proba(example)),
            input_example=example,
            pyfunc_predict_fn="predict_proba",
            skops_trusted_types=[*TRUSTED_TYPES, f"{own}.make"],
            code_paths=[str(file)],
            # Given, because guessing them starts a process that imports everything again.
            pip_requirements=[f"{name}=={version(name)}" for name in NEEDED_TO_LOAD],
        )


def _signature(example: pd.DataFrame, predictions: Any) -> ModelSignature:
    found = infer_signature(example, predictions)
    columns = [ColSpec(one.type, one.name, one.name not in WEATHER) for one in found.inputs]
    return ModelSignature(Schema(columns), found.outputs)
