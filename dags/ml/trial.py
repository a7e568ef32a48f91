"""Try a problem on a sample of its rows, without a stack: schema, features, fit, storage."""

from typing import Any

import pandas as pd

from ml import Refused, carried, data, holdout, model, scores
from ml.problem import Problem

SAMPLE_ROWS = 20_000
SEED = 42


def run(problem: Problem, rows: pd.DataFrame) -> dict[str, Any]:
    """Check, label, train each model, predict raw rows and store each model.

    Returns the metrics of each model and of the baseline, on held-out rows of a sample. Raises
    Refused for invalid rows, and for a model that cannot be stored.
    """
    if data.BATCH not in rows and not problem.time:
        rows = rows.assign(**{data.BATCH: "sample"})
    checked = data.check(problem, rows)
    labelled = _sample(problem, data.labelled(problem, checked))
    table = carried.of(problem).table(labelled)
    earlier, later = holdout.split(problem, labelled, problem.holdout)
    target = later[problem.target]
    guess = scores.baseline(problem.kind, earlier[problem.target], len(later))
    found = {"baseline": scores.evaluate(problem.kind, target, guess)}
    for name in problem.models:
        fitted = model.train(problem, name, earlier, table.loc[earlier.index], SEED)
        predictions = model.predict(problem, fitted, later)
        found[name] = scores.evaluate(problem.kind, target, predictions)
        _store(problem, fitted, later, predictions)
    return {
        "scores": found,
        "metric": scores.metric_of(problem),
        "shown": list(scores.SHOWN[problem.kind]),
        "trained_rows": len(earlier),
        "held_out_rows": len(later),
        "title": problem.name,
        "dag_ids": [problem.dag(role) for role in ("training", "monitoring", "scoring")],
    }


def _sample(problem: Problem, rows: pd.DataFrame) -> pd.DataFrame:
    """Return the newest rows if there is a time, or else a random sample."""
    if len(rows) <= SAMPLE_ROWS:
        return rows
    return rows.sample(SAMPLE_ROWS, random_state=SEED).sort_index().reset_index(drop=True)


def _store(
    problem: Problem, fitted: Any, rows: pd.DataFrame, predictions: scores.Predictions
) -> None:
    """Store and load a model as MLflow does, and compare its predictions."""
    import skops.io

    # It imports MLflow, which takes a second.
    from ml import tracking

    types = tracking.trusted_types(problem, fitted)
    again = skops.io.loads(skops.io.dumps(fitted), trusted=types)
    repeated = model.predict(problem, again, rows)
    if (repeated.values != predictions.values).any():
        raise Refused("a stored model predicts other values than before it was stored")
