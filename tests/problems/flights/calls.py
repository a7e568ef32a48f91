"""Bind functions of `ml` to the problem `flights`. Import it after `dags` is on sys.path."""

from functools import partial

import numpy as np
from ml import carried, holdout, model, scores
from ml.scores import Predictions
from problems.flights import PROBLEM as FLIGHTS
from problems.flights import features

FEATURES = [*features.CATEGORIES, *features.NUMBERS]
INPUTS = list(FLIGHTS.inputs)
split = partial(holdout.split, FLIGHTS)


def train(kind, rows, seed):
    """Train a model on labelled flights."""
    return model.train(FLIGHTS, kind, rows, features.make(rows), seed)


def score(estimator, rows):
    """Return the probability that each flight is late."""
    return model.predict(FLIGHTS, estimator, rows).column


def as_predictions(chance):
    """Return probabilities in the form of a model's predictions."""
    chance = np.asarray(chance, dtype=float)
    return Predictions(np.column_stack([1 - chance, chance]), (False, True))


def evaluate(late, chance):
    """Return the metrics of predicted probabilities."""
    return scores.evaluate("binary", late, as_predictions(chance))


def importance(estimator, rows, seed):
    """Return the importance of each feature."""
    return model.importance(FLIGHTS, estimator, rows, features.make(rows), seed)


def by_month(rows, chance):
    """Return the metrics of each month."""
    return model.by_period(FLIGHTS, rows, as_predictions(chance))


assert carried.of(FLIGHTS).names == FEATURES
