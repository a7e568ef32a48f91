"""The steps of a training, as plain functions from files to files and MLflow runs."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from ml import carried, data, drift, holdout, model, plots, registry, scores, tracking
from ml.problem import Problem

EXAMPLE_ROWS = 5


def ingest(problem: Problem, folder: Path, until: str) -> dict[str, Any]:
    """Read and check the rows up to a period (blank: all), and save them in `folder`.

    Raises Refused for invalid rows, with their numbers.
    """
    rows = data.check(problem, data.up_to(problem, data.read(problem), until))
    return {
        "rows": data.save(rows, folder / "rows.parquet"),
        "sha256": data.fingerprint(rows),
        "until": data.last_period(problem, rows),
        "count": len(rows),
    }


def make_features(problem: Problem, folder: Path, rows: str) -> dict[str, str]:
    """Label the rows and make their features; return both files."""
    labelled = data.labelled(problem, data.load(rows))
    table = carried.of(problem).table(labelled)
    return {
        "rows": data.save(labelled, folder / "labelled.parquet"),
        "features": data.save(table, folder / "features.parquet"),
    }


def train(
    problem: Problem,
    name: str,
    tables: Mapping[str, str],
    ingested: Mapping[str, Any],
    params: Mapping[str, Any],
    attempt: str,
) -> dict[str, Any]:
    """Train one of the problem's models on all rows that are not held out, and log it.

    Raises Refused if nothing can be held out.
    """
    labelled, features = data.load(tables["rows"]), data.load(tables["features"])
    earlier, later = holdout.split(problem, labelled, params["holdout"])
    target, metric, until = later[problem.target], scores.metric_of(problem), ingested["until"]
    fitted = model.train(problem, name, earlier, features.loc[earlier.index], params["seed"])
    predictions = model.predict(problem, fitted, later)
    metrics = scores.evaluate(problem.kind, target, predictions)
    guess = scores.baseline(problem.kind, earlier[problem.target], len(later))
    baseline = scores.evaluate(problem.kind, target, guess)
    by_period = model.by_period(problem, later, predictions)
    importance = model.importance(problem, fitted, later, features.loc[later.index], params["seed"])
    training = tracking.Training(
        params={**params, "model": name, "until": until, **_spans(problem, earlier, later)},
        metrics={
            **metrics,
            **{f"baseline_{key}": value for key, value in baseline.items()},
            **{f"{metric}.{period}": values[metric] for period, values in by_period.items()},
        },
        data_sha256=ingested["sha256"],
        figures=plots.of_training(problem, name, target, predictions, importance),
        by_period=pd.DataFrame(by_period).T.rename_axis(problem.unit).reset_index(),
        reference=model.as_seen(problem, fitted, drift.sample(earlier, params["seed"])),
        rows=labelled,
    )
    example = earlier[[column for column in problem.inputs if column in earlier]].head(EXAMPLE_ROWS)
    run_id, uri = tracking.log_training(
        problem, f"{attempt}/{name}", f"{name} {until}", fitted, example, training
    )
    # A training that agrees with the champion's in these would produce the same model.
    identity = {**params, "model": name, "until": until, "data_sha256": ingested["sha256"]}
    identity["source_sha256"] = tracking.code_tags(problem)["source_sha256"]
    result = {"kind": name, "run_id": run_id, "uri": uri, "identity": identity}
    return result | {"metrics": metrics, "baseline": baseline}


def validate(
    problem: Problem,
    tables: Mapping[str, str],
    trained: Sequence[Mapping[str, Any]],
    until: str,
    held_out: int,
) -> dict[str, Any]:
    """Compare the best trained model with the champion on the same rows, and register it.

    Returns its version, its alias, and the lines to report. A model that repeats the champion's
    training is not registered: its alias is `unchanged`. Raises Refused if the champion cannot
    score these rows.
    """
    chosen = scores.pick(problem, {result["kind"]: result["metrics"] for result in trained})
    candidate = next(result for result in trained if result["kind"] == chosen)
    run_id = candidate["run_id"]
    _, later = holdout.split(problem, data.load(tables["rows"]), held_out)
    champion = registry.load(problem.name, "champion")
    if champion and champion.run_id == run_id:
        champion = None  # An earlier try of this task has already moved the alias.
    # The registry's copy of the model is the one that will be used.
    metrics = _scores(problem, registry.load_logged(candidate["uri"]), later)
    current = _scores(problem, champion.model, later) if champion else {}
    if champion and _repeats(champion, candidate["identity"]):
        alias, version = "unchanged", champion.version
    else:
        alias = scores.alias(problem, metrics, current or None)
        tags = {"model": chosen}
        version = registry.register(problem.name, run_id, candidate["uri"], alias, tags)
    compared = {f"champion_{name}": value for name, value in current.items()}
    tracking.add_to(run_id, compared, {"verdict": alias})
    new = (f"version {version} ({chosen}, data to {until})", metrics)
    roles = {"champion": new}
    if champion and alias != "unchanged":
        old = (f"{champion}{_has_seen(problem, champion, later)}", current)
        is_new = alias == "champion"
        roles |= {"old champion": old} if is_new else {"champion": old, "challenger": new}
    roles["baseline"] = ("without features", candidate["baseline"])
    metric, report = metrics[scores.metric_of(problem)], _report(problem, later, roles)
    result = {"version": version, "alias": alias, "until": until}
    return result | {"metric": metric, "report": report}


def _repeats(champion: registry.Registered, identity: Mapping[str, Any]) -> bool:
    known = {**champion.params, **champion.tags}
    return all(known.get(name) == str(value) for name, value in identity.items())


def _has_seen(problem: Problem, champion: registry.Registered, later: pd.DataFrame) -> str:
    """Return a remark if the champion was trained on some of the held-out rows."""
    if not problem.time:
        return ""
    until = champion.params["trained_days"].partition("/")[2]
    return ", trained on some" if until >= _days(problem, later)[0] else ""


def _scores(problem: Problem, fitted: Any, later: pd.DataFrame) -> scores.Metrics:
    predictions = model.predict(problem, fitted, later)
    return scores.evaluate(problem.kind, later[problem.target], predictions)


def _report(
    problem: Problem, later: pd.DataFrame, roles: Mapping[str, tuple[str, scores.Metrics]]
) -> list[str]:
    """Return the scores of champion, challenger and baseline on the same rows, and a link."""
    days = f", {' to '.join(_days(problem, later))}" if problem.time else ""
    return [
        f"held out: {len(later):,} {problem.rows}{days}",
        *(f"{role:<16}{who:<56}{scores.text(problem, metrics)}"
          for role, (who, metrics) in roles.items()),
        f"MLflow          {tracking.link(f'models/{problem.name}')}",
    ]  # fmt: skip


def _days(problem: Problem, part: pd.DataFrame) -> tuple[str, str]:
    """Return the first and the last day of some rows."""
    time = data.times(problem, part)
    return f"{time.min():%Y-%m-%d}", f"{time.max():%Y-%m-%d}"


def _spans(problem: Problem, earlier: pd.DataFrame, later: pd.DataFrame) -> dict[str, Any]:
    """Return the rows and days that were trained on and held out, as parameters."""
    parts = {"trained": earlier, "held_out": later}
    spans: dict[str, Any] = {f"{name}_rows": len(part) for name, part in parts.items()}
    if problem.time:
        spans |= {f"{name}_days": "/".join(_days(problem, part)) for name, part in parts.items()}
    return spans
