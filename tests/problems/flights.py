"""Shorter calls for the tests of the problem `flights`. Import it after `dags` is on the path."""

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


def score(fitted, rows):
    """Return the probability of each flight to be late."""
    return model.predict(FLIGHTS, fitted, rows).column


def as_predictions(chance):
    """Return probabilities as predictions of a model."""
    chance = np.asarray(chance, dtype=float)
    return Predictions(np.column_stack([1 - chance, chance]), (False, True))


def evaluate(late, chance):
    """Return the metrics of probabilities."""
    return scores.evaluate("binary", late, as_predictions(chance))


def importance(fitted, rows, seed, limit=4000):
    """Return the importance of each feature."""
    return model.importance(FLIGHTS, fitted, rows, features.make(rows), seed, limit)


def by_month(rows, chance):
    """Return the metrics of each month."""
    return model.by_period(FLIGHTS, rows, as_predictions(chance))


assert carried.of(FLIGHTS).names == FEATURES
