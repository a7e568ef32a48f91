"""Try a problem on a sample, without a running stack: schema, features, fit, storage."""

from typing import Any

import pandas as pd

from ml import Refused, carried, data, estimators, holdout, model, scores
from ml.facts import target_of
from ml.problem import Problem

SAMPLE_ROWS, SEED = 20_000, 42


def run(problem: Problem, rows: pd.DataFrame) -> dict[str, Any]:
    """Check, label, train each model, predict raw rows and store each model.

    Returns the metrics of each model and of the baseline, on held-out rows of a sample. Raises
    Refused for invalid rows, and for a model that cannot be stored.
    """
    # It imports MLflow, which takes a second.
    from ml import registry

    labelled = data.labelled(problem, data.check(problem, rows))
    count = min(SAMPLE_ROWS, len(labelled))
    labelled = labelled.sample(count, random_state=SEED).sort_index().reset_index(drop=True)
    target_of(labelled[problem.target], problem.kind)
    table = carried.of(problem).table(labelled)
    earlier, later = holdout.split(problem, labelled, problem.holdout)
    target = later[problem.target]
    guess = scores.baseline(problem.kind, earlier[problem.target], len(later))
    metrics = {"baseline": scores.evaluate(problem.kind, target, guess)}
    for name in problem.models:
        fitted = model.train(problem, name, earlier, table.loc[earlier.index], SEED)
        predictions = model.predict(problem, fitted, later)
        metrics[name] = scores.evaluate(problem.kind, target, predictions)
        registry.require_storable(problem, fitted, later, predictions)
    return {
        "scores": metrics,
        "lines": {name: scores.text(problem, values) for name, values in metrics.items()},
        "trained_rows": len(earlier),
        "held_out_rows": len(later),
        "dag_ids": [problem.dag(role) for role in ("training", "monitoring", "scoring")],
    }


def require_complete(problem: Problem) -> None:
    """Raise Refused if a description lacks a function, or names something that is not there."""
    scores.metric_of(problem)
    if problem.function("schema") is None:
        raise Refused("schema() is missing")
    time = [problem.time] if isinstance(problem.time, str) else problem.time
    target = [] if problem.function("label") else [problem.target]
    named, columns = {*problem.inputs, *time, *target}, problem.schema().columns
    if missing := sorted(named - set(columns)):
        raise Refused(f"schema() has no column {', '.join(missing)}")
    models = problem.function("models", lambda: estimators.STANDARD)()
    if missing := sorted(set(problem.models) - set(models)):
        raise Refused(f"models() has no {', '.join(missing)}")
