"""Train models that take raw rows, and use them."""

from typing import Any

import pandas as pd
from sklearn.inspection import permutation_importance
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import FunctionTransformer

from ml import Refused, carried, data, estimators, scores
from ml.problem import Problem
from ml.scores import Metrics, Predictions

IMPORTANCE_ROWS = 4000


def train(problem: Problem, name: str, rows: pd.DataFrame, table: pd.DataFrame, seed: int) -> Any:
    """Train one of the problem's models on the features `table` of `rows`.

    The model takes raw rows and makes its features itself.
    """
    features = carried.of(problem)
    # A column without any value teaches nothing, and the trees reject it.
    numbers = [column for column in features.numbers if table[column].notna().any()]
    build = problem.function("models", lambda: estimators.STANDARD)()[name]
    pipeline = build(problem.kind, seed, numbers, features.categories)
    fitted = pipeline.fit(table[features.names], rows[problem.target])
    make = FunctionTransformer(features.module.make, kw_args=dict(features.arguments) or None)
    return make_pipeline(make, fitted)


def predict(problem: Problem, model: Pipeline, rows: pd.DataFrame) -> Predictions:
    """Return a model's predictions. Raises Refused if the rows lack a column that it needs."""
    inputs = [name for name in problem.inputs if name in rows]
    try:
        return scores.predict(problem.kind, model, rows[inputs])
    except KeyError as error:
        reason = f"a model that needs {error} cannot score these {problem.rows}"
        raise Refused(reason) from error


def as_seen(problem: Problem, model: Pipeline, rows: pd.DataFrame) -> pd.DataFrame:
    """Return the features that a model makes of raw rows, and its `prediction`."""
    return model[0].transform(rows).assign(prediction=predict(problem, model, rows).column)


def by_period(problem: Problem, rows: pd.DataFrame, predictions: Predictions) -> dict[str, Metrics]:
    """Return the metrics of each period, except of those with only one class."""
    metrics: dict[str, Metrics] = {}
    periods = data.periods(problem, rows)
    for period in sorted(set(periods)):
        mask = (periods == period).to_numpy()
        target = rows[problem.target][mask]
        if problem.kind == "regression" or target.nunique() > 1:
            metrics[period] = scores.evaluate(problem.kind, target, predictions.only(mask))
    return metrics


def importance(
    problem: Problem, model: Pipeline, rows: pd.DataFrame, table: pd.DataFrame, seed: int
) -> pd.Series:
    """Return how much the metric loses if a feature is shuffled, the most important first.

    Uses at most IMPORTANCE_ROWS, because the time grows with them (Breiman, Machine Learning 2001).
    """
    names, metric = carried.of(problem).names, scores.metric_of(problem)
    sample = table[names].sample(min(IMPORTANCE_ROWS, len(table)), random_state=seed)
    target = rows[problem.target].loc[sample.index]
    sign = 1 if scores.METRICS[metric].more_is_better else -1

    def score(fitted: Any, features: pd.DataFrame, target: pd.Series) -> float:
        # scikit-learn's own scorers fail if the sample lacks a class.
        predictions = scores.predict(problem.kind, fitted, features)
        return sign * scores.evaluate(problem.kind, target, predictions)[metric]

    options = {"scoring": score, "n_repeats": 3, "random_state": seed}
    lost = permutation_importance(model[-1], sample, target, **options)
    return pd.Series(lost.importances_mean, names).sort_values(ascending=False)
