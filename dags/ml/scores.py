"""Metrics of each kind of problem, and which of two models is better."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from sklearn.dummy import DummyClassifier, DummyRegressor
from sklearn.metrics import (
    accuracy_score,
    brier_score_loss,
    f1_score,
    log_loss,
    mean_absolute_error,
    r2_score,
    roc_auc_score,
    root_mean_squared_error,
)

from ml.problem import Problem

CALIBRATION_BINS = 10
Metrics = dict[str, float]


@dataclass(frozen=True)
class Metric:
    """How to compare two values: which is better, and whether a margin is a share of the value."""

    more_is_better: bool = False
    relative: bool = False

    def gain(self, one: float, other: float) -> float:
        """Return how much better `one` is than `other`, negative if it is worse."""
        gain = one - other if self.more_is_better else other - one
        return gain / abs(other) if self.relative and other else gain


METRICS: Mapping[str, Metric] = {
    "auc": Metric(more_is_better=True),
    "macro_f1": Metric(more_is_better=True),
    "accuracy": Metric(more_is_better=True),
    "r2": Metric(more_is_better=True),
    "log_loss": Metric(relative=True),
    "rmse": Metric(relative=True),
    "mae": Metric(relative=True),
    "brier": Metric(),
    "calibration_error": Metric(),
}


@dataclass(frozen=True)
class Predictions:
    """What a model predicts for each row: a value for regression, or else probabilities.

    `values` has one column for each of `classes`. For regression it has one column, for binary
    targets the second column is the probability of the second class.
    """

    values: np.ndarray
    classes: Sequence[Any] = ()

    @property
    def column(self) -> np.ndarray:
        """One number or class for each row: value, probability of True, or most likely class."""
        if len(self.classes) == 2:
            return self.values[:, 1]
        if self.classes:
            return np.asarray(self.classes, dtype=object)[self.values.argmax(axis=1)].astype(str)
        return self.values[:, 0]

    def only(self, rows: np.ndarray) -> "Predictions":
        """Return the predictions of some rows, by a mask."""
        return Predictions(self.values[rows], self.classes)


def predict(kind: str, model: Any, rows: pd.DataFrame) -> Predictions:
    """Return the predictions of a model."""
    if kind == "regression":
        return Predictions(np.asarray(model.predict(rows), dtype=float).reshape(-1, 1))
    return Predictions(model.predict_proba(rows), tuple(model.classes_))


def baseline(kind: str, target: pd.Series, rows: int) -> Predictions:
    """Return what a model without features predicts: the mean, or the shares of the classes."""
    dummy = DummyRegressor() if kind == "regression" else DummyClassifier(strategy="prior")
    dummy.fit(np.zeros((len(target), 1)), target)
    return predict(kind, dummy, pd.DataFrame(np.zeros((rows, 1))))


def evaluate(kind: str, target: pd.Series, predictions: Predictions) -> Metrics:
    """Return the metrics of a kind of problem."""
    return {"binary": _binary, "multiclass": _multiclass, "regression": _regression}[kind](
        target, predictions
    )


def _binary(target: pd.Series, predictions: Predictions) -> Metrics:
    chance = predictions.column
    truth = (target == predictions.classes[1]).to_numpy()
    return {
        "auc": float(roc_auc_score(truth, chance)),
        "log_loss": float(log_loss(truth, chance, labels=[False, True])),
        "brier": float(brier_score_loss(truth, chance)),
        "calibration_error": calibration_error(truth, chance),
    }


def _multiclass(target: pd.Series, predictions: Predictions) -> Metrics:
    # A class that the model does not know counts as a wrong prediction with probability 0.
    classes = [str(one) for one in predictions.classes]
    truth = target.astype(str)
    unknown = sorted(set(truth) - set(classes))
    values = np.hstack([predictions.values, np.zeros((len(truth), len(unknown)))])
    order = np.argsort([*classes, *unknown])
    labels = [[*classes, *unknown][one] for one in order]
    return {
        "log_loss": float(log_loss(truth, values[:, order], labels=labels)),
        "macro_f1": float(f1_score(truth, predictions.column, average="macro", zero_division=0)),
        "accuracy": float(accuracy_score(truth, predictions.column)),
    }


def _regression(target: pd.Series, predictions: Predictions) -> Metrics:
    value = predictions.column
    return {
        "rmse": float(root_mean_squared_error(target, value)),
        "mae": float(mean_absolute_error(target, value)),
        "r2": float(r2_score(target, value)) if len(target) > 1 else float("nan"),
    }


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


USUAL: Mapping[str, str] = {"binary": "auc", "multiclass": "log_loss", "regression": "rmse"}
# A metric that must not get worse, next to the one that decides.
GUARDS: Mapping[str, str] = {"auc": "log_loss", "rmse": "r2", "log_loss": "accuracy"}
SHOWN: Mapping[str, Sequence[str]] = {
    "binary": ("auc", "log_loss", "calibration_error"),
    "multiclass": ("log_loss", "macro_f1", "accuracy"),
    "regression": ("rmse", "mae", "r2"),
}
SCORERS: Mapping[str, str] = {
    "auc": "roc_auc",
    "log_loss": "neg_log_loss",
    "macro_f1": "f1_macro",
    "accuracy": "accuracy",
    "rmse": "neg_root_mean_squared_error",
    "mae": "neg_mean_absolute_error",
    "r2": "r2",
}
"""scikit-learn's names, for the importance of features."""


def metric_of(problem: Problem) -> str:
    """Return the name of the metric that decides."""
    return problem.metric or USUAL[problem.kind]


def better(problem: Problem, one: Metrics, other: Metrics) -> bool:
    """Return whether `one` is better by the margin and no worse in the guard metric."""
    name = metric_of(problem)
    guard = GUARDS.get(name, "")
    no_worse = not guard or METRICS[guard].gain(one[guard], other[guard]) >= 0
    return METRICS[name].gain(one[name], other[name]) >= problem.margin and no_worse


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
    return -METRICS[metric_of(problem)].gain(now, then) >= problem.limits.loss
