"""Draw the pictures of a training and of the monitored periods."""

from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from sklearn.calibration import CalibrationDisplay
from sklearn.metrics import ConfusionMatrixDisplay, PredictionErrorDisplay, RocCurveDisplay

from ml import scores
from ml.problem import Problem
from ml.scores import CALIBRATION_BINS, Predictions

MAX_CLASSES = 20


def of_training(
    problem: Problem, name: str, target: pd.Series, predictions: Predictions, importance: pd.Series
) -> Mapping[str, Figure]:
    """Return figures of the hold-out by file name."""
    draw = {"binary": _binary, "multiclass": _multiclass, "regression": _regression}[problem.kind]
    figures = draw(name, target, predictions)
    worth = _figure(f"Importance of the features of {name}")
    axes = worth.axes[0]
    axes.barh(importance.index[::-1], importance.to_numpy()[::-1])
    metric = scores.metric_of(problem).replace("_", " ").upper()
    axes.set_xlabel(f"{metric} lost when shuffled")
    return {**figures, "importance.png": worth}


def _figure(title: str) -> Figure:
    # pyplot would keep every figure in memory.
    figure = Figure(figsize=(6, 5), layout="constrained")
    axes = figure.subplots()
    axes.set_title(title)
    axes.grid(alpha=0.3)
    return figure


def _binary(name: str, target: pd.Series, predictions: Predictions) -> dict[str, Figure]:
    truth, chance = target == predictions.classes[1], predictions.column
    roc, calibration = _figure("ROC on the hold-out"), _figure("Calibration on the hold-out")
    RocCurveDisplay.from_predictions(
        truth, chance, name=name, plot_chance_level=True, ax=roc.axes[0]
    )
    CalibrationDisplay.from_predictions(
        truth, chance, n_bins=CALIBRATION_BINS, strategy="quantile", name=name,
        ax=calibration.axes[0],
    )  # fmt: skip
    return {"roc.png": roc, "calibration.png": calibration}


def _multiclass(name: str, target: pd.Series, predictions: Predictions) -> dict[str, Figure]:
    figure = _figure(f"Confusion matrix of {name} on the hold-out")
    figure.axes[0].grid(visible=False)
    common = target.astype(str).value_counts().index[:MAX_CLASSES]
    ConfusionMatrixDisplay.from_predictions(
        target.astype(str), predictions.column, labels=sorted(common), normalize="true",
        values_format=".0%", xticks_rotation=45, colorbar=False, ax=figure.axes[0],
    )  # fmt: skip
    return {"confusion.png": figure}


def _regression(name: str, target: pd.Series, predictions: Predictions) -> dict[str, Figure]:
    figures = {}
    for kind, words in (
        ("actual_vs_predicted", "Predictions"),
        ("residual_vs_predicted", "Residuals"),
    ):
        figure = _figure(f"{words} of {name} on the hold-out")
        PredictionErrorDisplay.from_predictions(
            target, predictions.column, kind=kind, subsample=2000, random_state=0,
            ax=figure.axes[0], scatter_kwargs={"alpha": 0.3, "s": 8},
        )  # fmt: skip
        figures[f"{words.lower()}.png"] = figure
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
        label = f"trained with the data so far: {verdict}"
        above.plot(made["period"].map(place), made[metric], mark, markersize=9, label=label)
    above.set_ylabel(metric.replace("_", " ").upper())
    colours = np.where(first["drifted"] == "True", "tab:red", "tab:gray")
    below.bar(first.index, first["drifted_share"], color=colours)
    below.axhline(problem.limits.share, color="black", linestyle=":", label="threshold")
    below.set_ylabel("drifted columns (share)")
    below.set_xticks(first.index, first["period"], rotation=45)
    for axes in (above, below):
        axes.grid(alpha=0.3)
        axes.legend(loc="lower right")
    return figure
