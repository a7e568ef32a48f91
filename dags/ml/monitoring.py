"""The steps of monitoring one period, as plain functions from files to files and MLflow runs."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from ml import NothingToDo, data, drift, model, plots, registry, scores, scoring, tracking
from ml.problem import Problem

COLUMNS_NAMED = 5


def arrive(problem: Problem, folder: Path, period: str) -> dict[str, str]:
    """Read and check the rows of a period, as if they had just arrived.

    A blank `period` means the newest one, or the next batch that was not monitored. Raises Refused
    for invalid rows, with their numbers, and if there are no rows of the period. Raises NothingToDo
    if each batch was monitored, or there is no champion to monitor it with.
    """
    everything = data.read(problem)
    period = period or _next_period(problem, everything)
    rows = data.check(problem, data.of(problem, everything, period))
    return {"period": period, "rows": data.save(rows, folder / "period.parquet")}


def _next_period(problem: Problem, everything: pd.DataFrame) -> str:
    if problem.time:
        return data.last_period(problem, data.check(problem, everything))
    if (champion := registry.load(problem.name, "champion")) is None:
        raise NothingToDo(f"{problem.name} has no champion yet.")
    done, until = tracking.monitored_periods(problem), champion.params["until"]
    new = {batch for batch in data.periods(problem, everything) if batch > until} - done
    if not new:
        raise NothingToDo(f"There is no new file after {max({until, *done})}.")
    return str(min(new))


def measure_drift(
    problem: Problem, arrived: Mapping[str, str], version: str = "champion"
) -> dict[str, Any]:
    """Compare the period with the rows that a model was trained on, and log it to MLflow.

    `version` is that model's version or alias. Raises Refused if there is none.
    """
    period, champion = arrived["period"], registry.require(problem, version)
    seen = model.as_seen(problem, champion.model, data.load(arrived["rows"]))
    result = drift.compare(tracking.reference(champion.run_id), seen, problem.limits)
    metrics = {f"{drift.METHOD}.{name}": value for name, value in result.by_column.items()}
    tags = {
        "period": period,
        "champion": champion.version,
        "drifted": str(result.past_threshold),
        "drifted_columns": ", ".join(result.columns),
    }
    metrics["drifted_share"], name = result.share, f"{period}, version {champion.version}"
    reports = {"drift_html": result.html, "drift_json": result.json}
    run_id = tracking.log_period(problem, name, metrics, tags, **reports)
    until = champion.params["until"]
    last_day = champion.params.get("trained_days", f"/{until}").partition("/")[2]
    return {
        "period": period,
        "version": champion.version,
        "champion": str(champion),
        "until": until,
        "news": period > until,
        "trained_on": period <= last_day[: len(period)],
        "run_id": run_id,
        "share": result.share,
        "past_threshold": result.past_threshold,
        "columns": {name: result.by_column[name] for name in result.columns},
        "seasonal": {name: result.by_column[name] for name in result.seasonal},
    }


def measure_performance(
    problem: Problem, arrived: Mapping[str, str], drifted: Mapping[str, Any]
) -> dict[str, Any]:
    """Compute the champion's metrics for the period, if enough labels are known.

    Uses the stored predictions of `scoring` if they cover the labelled rows, otherwise the champion
    predicts again.
    """
    rows, run_id = data.load(arrived["rows"]), drifted["run_id"]
    labelled = data.labelled(problem, rows)
    share = len(labelled) / len(rows)
    reason = ""
    if share < problem.limits.labelled:
        reason = f"{share:.0%} of the {problem.rows} have a label"
    elif problem.kind != "regression" and labelled[problem.target].nunique() < 2:
        reason = "all labels are of one class"
    if reason:
        tracking.add_to(run_id, {"labelled_share": share})
        return {"labelled_share": share, "metric": None, "reason": reason, "decayed": False}
    champion = registry.require(problem, drifted["version"])
    stored = scoring.stored_predictions(problem, labelled)
    predictions = stored or model.predict(problem, champion.model, labelled)
    metrics = scores.evaluate(problem.kind, labelled[problem.target], predictions)
    name = scores.metric_of(problem)
    decayed = scores.has_decayed(problem, metrics[name], champion.metrics[name])
    tags = {"decayed": str(decayed), "predictions": "stored" if stored else "computed"}
    tracking.add_to(run_id, {**metrics, "labelled_share": share}, tags)
    history = plots.of_periods(problem, tracking.monitored(problem), tracking.validated(problem))
    tracking.add_to(run_id, figures={"history.png": history})
    return {
        **metrics,
        "labelled_share": share,
        "metric": metrics[name],
        "holdout": champion.metrics[name],
        "trained_on": drifted["trained_on"],
        "stored": bool(stored),
        "decayed": decayed,
    }


def summary(
    problem: Problem, drifted: Mapping[str, Any], performance: Mapping[str, Any]
) -> list[str]:
    """Return the lines that describe a period."""
    lines = [
        f"{problem.unit} {drifted['period']}, champion {drifted['champion']}",
        f"drifted: {drifted['share']:.0%} of the columns (limit {problem.limits.share:.0%}); "
        f"furthest by {drift.METHOD}: {_furthest(drifted['columns']) or 'none'}",
    ]
    if drifted["seasonal"]:
        lines.append(f"changed with the season, not counted: {_furthest(drifted['seasonal'])}")
    return [*lines, _performance(problem, performance)]


def _furthest(columns: Mapping[str, float]) -> str:
    # XCom does not keep the order.
    furthest = sorted(columns.items(), key=lambda item: -item[1])[:COLUMNS_NAMED]
    return ", ".join(f"{name} {value:.2f}" for name, value in furthest)


def _performance(problem: Problem, performance: Mapping[str, Any]) -> str:
    name, limit = scores.metric_of(problem), problem.limits.decay
    if performance["metric"] is None:
        return f"performance: not measured, because {performance['reason']}"
    seen = f" (it was trained on this {problem.unit})" if performance["trained_on"] else ""
    worse = f"{limit:.0%}" if scores.METRICS[name].relative else f"{limit}"
    return (
        f"{name.replace('_', ' ').upper()} {performance['metric']:.4f}{seen}, on its hold-out "
        f"{performance['holdout']:.4f} (limit {worse} worse); "
        f"{scores.text(problem, performance, without=name, gap=', ')}"
    )


def alert(
    problem: Problem, drifted: Mapping[str, Any], performance: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the alert for drift past the threshold or a decayed champion, or an empty dict.

    The alert has a title, lines and links.

    Drift of a period that the champion was trained with is not reported again.
    """
    reasons = {
        f"the {problem.rows} have drifted": drifted["past_threshold"] and drifted["news"],
        "the champion has decayed": performance["decayed"],
    }
    if not any(reasons.values()):
        return {}
    words = " and ".join(reason for reason, applies in reasons.items() if applies)
    lines = [*summary(problem, drifted, performance), problem.advice]
    return {
        "title": f"{problem.name} {drifted['period']}: {words}",
        "lines": [line for line in lines if line],
        "links": {"drift report": tracking.link(run_id=drifted["run_id"])},
    }
