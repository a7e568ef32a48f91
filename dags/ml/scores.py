"""Metrics of each kind of problem, and which of two models is better."""

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from sklearn import metrics as measures
from sklearn.dummy import DummyClassifier, DummyRegressor
from sklearn.pipeline import Pipeline

from ml import Refused
from ml.problem import Problem

CALIBRATION_BINS = 10
Metrics = dict[str, float]


@dataclass(frozen=True)
class Metric:
    """How to compare two values of a metric.

    The metric `guard` must not get worse. If `relative`, margins are a share of the value.
    """

    more_is_better: bool = False
    relative: bool = False
    guard: str = ""

    def gain(self, value: float, other: float) -> float:
        """Return how much better a value is than another one, negative if it is worse."""
        gain = value - other if self.more_is_better else other - value
        return gain / abs(other) if self.relative and other else gain


METRICS: Mapping[str, Metric] = {
    "auc": Metric(more_is_better=True, guard="log_loss"),
    "log_loss": Metric(relative=True, guard="accuracy"),
    "macro_f1": Metric(more_is_better=True),
    "accuracy": Metric(more_is_better=True),
    "rmse": Metric(relative=True, guard="r2"),
    "mae": Metric(relative=True),
    "r2": Metric(more_is_better=True),
}
# The first metric of a kind decides, unless the problem names another one.
SHOWN: Mapping[str, Sequence[str]] = {
    "binary": ("auc", "log_loss", "calibration_error"),
    "multiclass": ("log_loss", "macro_f1", "accuracy"),
    "regression": ("rmse", "mae", "r2", "coverage_90"),
}
INTERVAL_90 = 1.645
"""Standard deviations on each side of the mean that contain 90 % of a normal distribution."""


@dataclass(frozen=True)
class Predictions:
    """What a model predicts for each row: a value for regression, or else probabilities.

    `values` has one column for each of `classes`. For regression it has one column, for binary
    targets the second column is the probability of the second class. `deviation` is the standard
    deviation of each value, if the model provides it.
    """

    values: np.ndarray
    classes: Sequence[Any] = ()
    deviation: np.ndarray | None = None

    @property
    def column(self) -> np.ndarray:
        """One entry per row: value, probability of the second class, or most likely class."""
        if len(self.classes) == 2:
            return self.values[:, 1]
        return self.labels if self.classes else self.values[:, 0]

    @property
    def labels(self) -> np.ndarray:
        """The most likely class of each row, as text."""
        return np.asarray(self.classes, dtype=object)[self.values.argmax(axis=1)].astype(str)

    def only(self, rows: np.ndarray) -> "Predictions":
        """Return the predictions of some rows, by a mask."""
        deviation = None if self.deviation is None else self.deviation[rows]
        return Predictions(self.values[rows], self.classes, deviation)


def predict(kind: str, model: Any, rows: pd.DataFrame) -> Predictions:
    """Return the predictions of a model, with standard deviations if it provides them."""
    if kind != "regression":
        return Predictions(model.predict_proba(rows), tuple(model.classes_))
    last = model
    while isinstance(last, Pipeline):
        last = last[-1]
    if "return_std" in inspect.signature(last.predict).parameters:
        values, deviation = model.predict(rows, return_std=True)
        return Predictions(np.reshape(values, (-1, 1)), deviation=np.ravel(deviation))
    return Predictions(np.asarray(model.predict(rows), dtype=float).reshape(-1, 1))


def baseline(kind: str, target: pd.Series, rows: int) -> Predictions:
    """Return what a model without features predicts: the mean, or the shares of the classes."""
    dummy = DummyRegressor() if kind == "regression" else DummyClassifier(strategy="prior")
    dummy.fit(np.zeros((len(target), 1)), target)
    if kind == "regression":
        return Predictions(np.full((rows, 1), dummy.predict([[0]])[0]))
    return predict(kind, dummy, pd.DataFrame(np.zeros((rows, 1))))


def evaluate(kind: str, target: pd.Series, predictions: Predictions) -> Metrics:
    """Return the metrics of a kind of problem."""
    measure = {"binary": _binary, "multiclass": _multiclass, "regression": _regression}[kind]
    return measure(target, predictions)


def _binary(target: pd.Series, predictions: Predictions) -> Metrics:
    if unknown := sorted(map(str, set(target) - set(predictions.classes))):
        raise Refused(f"the model does not know the class {', '.join(unknown)} of {target.name}")
    chance = predictions.column
    truth = (target == predictions.classes[1]).to_numpy()
    return {
        "auc": float(measures.roc_auc_score(truth, chance)),
        "log_loss": float(measures.log_loss(truth, chance, labels=[False, True])),
        "brier": float(measures.brier_score_loss(truth, chance)),
        "calibration_error": calibration_error(truth, chance),
    }


def _multiclass(target: pd.Series, predictions: Predictions) -> Metrics:
    # A class that the model does not know counts as a wrong prediction with probability 0.
    truth = target.astype(str)
    classes = [str(name) for name in predictions.classes]
    classes += sorted(set(truth) - set(classes))
    unknown = np.zeros((len(truth), len(classes) - len(predictions.classes)))
    values = pd.DataFrame(np.hstack([predictions.values, unknown]), columns=classes)
    labels = sorted(classes)
    return {
        "log_loss": float(measures.log_loss(truth, values[labels].to_numpy(), labels=labels)),
        "macro_f1": float(
            measures.f1_score(truth, predictions.labels, average="macro", zero_division=0)
        ),
        "accuracy": float(measures.accuracy_score(truth, predictions.labels)),
    }


def _regression(target: pd.Series, predictions: Predictions) -> Metrics:
    value = predictions.column
    metrics = {
        "rmse": float(measures.root_mean_squared_error(target, value)),
        "mae": float(measures.mean_absolute_error(target, value)),
        "r2": float(measures.r2_score(target, value)) if len(target) > 1 else float("nan"),
    }
    if predictions.deviation is not None:
        inside = np.abs(target - value) <= INTERVAL_90 * predictions.deviation
        metrics["coverage_90"] = float(inside.mean())
    return metrics


def calibration_error(truth: np.ndarray, chance: np.ndarray) -> float:
    """Return the expected calibration error over bins of about equal size, from 0 to 1.

    This is the mean distance between predicted probability and actual share (Naeini et al., AAAI
    2015, there with bins of equal width).
    """
    # Equal probabilities are in one bin, whatever the order of the rows.
    edges = np.unique(np.quantile(chance, np.linspace(0, 1, CALIBRATION_BINS + 1)))[1:-1]
    bins = np.searchsorted(edges, chance, side="right")
    gaps = [abs((chance[bins == one] - truth[bins == one]).sum()) for one in np.unique(bins)]
    return float(sum(gaps) / len(chance))


def metric_of(problem: Problem) -> str:
    """Return the name of the metric that decides. Raises Refused if the kind does not have it."""
    choices = [name for name in SHOWN[problem.kind] if name in METRICS]
    if problem.metric and problem.metric not in choices:
        raise Refused(f"metric={problem.metric!r} is none of {', '.join(choices)}")
    return problem.metric or choices[0]


def text(problem: Problem, metrics: Mapping[str, Any], without: str = "", gap: str = "  ") -> str:
    """Return the metrics that people compare as one line, except `without`."""
    return gap.join(
        f"{name.replace('_', ' ')} {metrics[name]:.4f}"
        for name in SHOWN[problem.kind] if name in metrics and name != without
    )  # fmt: skip


def better(problem: Problem, metrics: Metrics, others: Metrics) -> bool:
    """Return whether a model is better by the margin and no worse in the guard metric."""
    name = metric_of(problem)
    guard = METRICS[name].guard
    no_worse = guard not in metrics or METRICS[guard].gain(metrics[guard], others[guard]) >= 0
    return METRICS[name].gain(metrics[name], others[name]) >= problem.margin and no_worse


def pick(problem: Problem, scores: Mapping[str, Metrics]) -> str:
    """Return the kind of model to continue with: the simplest that no other one beats."""
    chosen, *others = [name for name in problem.models if name in scores]
    for name in others:
        chosen = name if better(problem, scores[name], scores[chosen]) else chosen
    return chosen


def alias(problem: Problem, candidate: Metrics, champion: Metrics | None) -> str:
    """Return the candidate's alias: champion if it is the first or better, else challenger."""
    is_champion = champion is None or better(problem, candidate, champion)
    return "champion" if is_champion else "challenger"


def has_decayed(problem: Problem, now: float, then: float) -> bool:
    """Return whether a metric is worse by the limit than on the champion's hold-out."""
    return -METRICS[metric_of(problem)].gain(now, then) >= problem.limits.decay
