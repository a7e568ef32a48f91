"""Draw the pictures of a training and of the monitored periods."""

from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from sklearn.calibration import CalibrationDisplay
from sklearn.metrics import ConfusionMatrixDisplay, PredictionErrorDisplay, RocCurveDisplay

from ml import scores
from ml.problem import Problem
from ml.scores import CALIBRATION_BINS, Predictions


def of_training(
    problem: Problem, name: str, target: pd.Series, predictions: Predictions, importance: pd.Series
) -> Mapping[str, Figure]:
    """Return figures of the hold-out by file name."""
    draw = {"binary": _binary, "multiclass": _multiclass, "regression": _regression}[problem.kind]
    figures = draw(name, target, predictions)
    figures["importance.png"], axes = _figure(f"Importance of the features of {name}")
    axes.barh(importance.index[::-1], importance.to_numpy()[::-1])
    axes.set_xlabel(f"{_label(problem)} lost when shuffled")
    return figures


def _figure(title: str) -> tuple[Figure, Axes]:
    # pyplot would keep every figure in memory.
    figure = Figure(figsize=(6, 5), layout="constrained")
    axes = figure.subplots()
    axes.set_title(title)
    axes.grid(alpha=0.3)
    return figure, axes


def _label(problem: Problem) -> str:
    return scores.metric_of(problem).replace("_", " ").upper()


def _binary(name: str, target: pd.Series, predictions: Predictions) -> dict[str, Figure]:
    truth, chance = target == predictions.classes[1], predictions.column
    roc, axes = _figure("ROC on the hold-out")
    RocCurveDisplay.from_predictions(truth, chance, name=name, plot_chance_level=True, ax=axes)
    calibration, axes = _figure("Calibration on the hold-out")
    bins = {"n_bins": CALIBRATION_BINS, "strategy": "quantile"}
    CalibrationDisplay.from_predictions(truth, chance, name=name, ax=axes, **bins)
    return {"roc.png": roc, "calibration.png": calibration}


def _multiclass(name: str, target: pd.Series, predictions: Predictions) -> dict[str, Figure]:
    figure, axes = _figure(f"Confusion matrix of {name} on the hold-out")
    axes.grid(visible=False)
    common = target.astype(str).value_counts().index[:20]
    ConfusionMatrixDisplay.from_predictions(
        target.astype(str), predictions.labels, labels=sorted(common), normalize="true",
        values_format=".0%", xticks_rotation=45, colorbar=False, ax=axes,
    )  # fmt: skip
    return {"confusion.png": figure}


def _regression(name: str, target: pd.Series, predictions: Predictions) -> dict[str, Figure]:
    figures = {}
    kinds = {"predictions": "actual_vs_predicted", "residuals": "residual_vs_predicted"}
    for noun, kind in kinds.items():
        figures[f"{noun}.png"], axes = _figure(f"{noun.capitalize()} of {name} on the hold-out")
        PredictionErrorDisplay.from_predictions(
            target, predictions.column, kind=kind, subsample=2000, random_state=0, ax=axes,
            scatter_kwargs={"alpha": 0.3, "s": 8},
        )  # fmt: skip
    return figures


def of_periods(problem: Problem, monitored: pd.DataFrame, trained: pd.DataFrame) -> Figure:
    """Draw the champion's metric, the trainings and the drift of each period.

    `monitored` has period, the metric, drifted_share and drifted, sorted by period, the first
    result of a period first. `trained` has period, the metric on the hold-out, and verdict.
    """
    metric = scores.metric_of(problem)
    first = monitored.drop_duplicates("period", keep="first").reset_index(drop=True)
    figure = Figure(figsize=(9, 5.5), layout="constrained")
    above, below = figure.subplots(2, sharex=True, height_ratios=[3, 2])
    above.plot(first.index, first[metric], "o-", label="champion at that time")
    place = dict(zip(first["period"], first.index, strict=True))
    for verdict, mark in (("champion", "^"), ("challenger", "x")):
        made = trained[(trained["verdict"] == verdict) & trained["period"].isin(place)]
        options = {"markersize": 9, "label": f"trained with the data so far: {verdict}"}
        above.plot(made["period"].map(place), made[metric], mark, **options)
    above.set_ylabel(_label(problem))
    colours = np.where(first["drifted"] == "True", "tab:red", "tab:gray")
    below.bar(first.index, first["drifted_share"], color=colours)
    below.axhline(problem.limits.share, color="black", linestyle=":", label="threshold")
    below.set_ylabel("drifted columns (share)")
    below.set_xticks(first.index, first["period"], rotation=45)
    for axes in (above, below):
        axes.grid(alpha=0.3)
        axes.legend(loc="lower right")
    return figure
