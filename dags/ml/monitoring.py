"""The steps of monitoring one period, as plain functions from files to files and MLflow runs."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ml import Refused, data, drift, model, plots, registry, scores, scoring, tracking
from ml.alerting import Alert
from ml.problem import Problem

COLUMNS_NAMED = 5


def arrive(problem: Problem, folder: Path, period: str) -> dict[str, str]:
    """Read and check the rows of a period, as if they had just arrived.

    A blank `period` means the newest one, or the next batch that was not monitored. Raises Refused
    for invalid rows, with their numbers, and if there are no rows.
    """
    everything = data.read(problem)
    period = period or _next_period(problem, everything)
    rows = data.check(problem, data.of(problem, everything, period))
    return {"period": period, "rows": data.save(rows, folder / "period.parquet")}


def _next_period(problem: Problem, everything: Any) -> str:
    if problem.time:
        return data.last_period(problem, data.check(problem, everything))
    batches: list[str] = sorted(set(data.periods(problem, everything)))
    champion = _model(problem, "champion")
    done = tracking.monitored_periods(problem)
    waiting = [one for one in batches if one not in done and one > champion.params["until"]]
    return waiting[0] if waiting else batches[-1]


def measure_drift(
    problem: Problem, arrived: Mapping[str, str], version: str = "champion"
) -> dict[str, Any]:
    """Compare the period with the rows that a model was trained on, and log it to MLflow.

    `version` is that model's version or alias. Raises Refused if there is none.
    """
    period, champion = arrived["period"], _model(problem, version)
    seen = model.as_seen(problem, champion.model, data.load(arrived["rows"]))
    found = drift.compare(tracking.reference(champion.run_id), seen, problem.limits)
    run_id = tracking.log_period(
        problem,
        tracking.Attempt(
            f"{period}/version {champion.version}", f"{period}, version {champion.version}"
        ),
        metrics={
            "drifted_share": found.share,
            **{f"{drift.METHOD}.{name}": value for name, value in found.by_column.items()},
        },
        tags={
            "period": period,
            "champion": champion.version,
            "drifted": str(found.past_threshold),
            "drifted_columns": ", ".join(found.columns),
        },
        texts={"drift.html": found.html, "drift.json": found.json},
    )
    until = champion.params["until"]
    return {
        "period": period,
        "version": champion.version,
        "champion": str(champion),
        "until": until,
        "news": period > until,
        "trained_on": _is_trained_on(problem, champion, period),
        "run_id": run_id,
        "share": found.share,
        "past_threshold": found.past_threshold,
        "columns": {name: found.by_column[name] for name in found.columns},
        "seasonal": {name: found.by_column[name] for name in found.seasonal},
    }


def _is_trained_on(problem: Problem, champion: registry.Registered, period: str) -> bool:
    if not problem.time:
        return period <= champion.params["until"]
    last_day = champion.params["trained_days"].partition("/")[2]
    return period <= last_day[: len(period)]


def measure_performance(
    problem: Problem, arrived: Mapping[str, str], drifted: Mapping[str, Any]
) -> dict[str, Any]:
    """Compute the champion's metrics for the period, if enough labels are known.

    Uses the stored predictions of `scoring` if they cover the labelled rows, otherwise the champion
    predicts again.
    """
    rows = data.load(arrived["rows"])
    labelled = data.labelled(problem, rows)
    share = len(labelled) / len(rows)
    one_class = problem.kind != "regression" and labelled[problem.target].nunique() < 2
    if share < problem.limits.labelled or one_class:
        tracking.add_to(drifted["run_id"], {"labelled_share": share}, {})
        return {"labelled_share": share, "metric": None, "decayed": False}
    champion, name = _model(problem, drifted["version"]), scores.metric_of(problem)
    stored = scoring.stored_predictions(problem, labelled)
    predictions = stored or model.predict(problem, champion.model, labelled)
    now = scores.evaluate(problem.kind, labelled[problem.target], predictions)
    decayed = scores.has_decayed(problem, now[name], champion.metrics[name])
    tags = {"decayed": str(decayed), "predictions": "stored" if stored else "computed"}
    tracking.add_to(drifted["run_id"], {**now, "labelled_share": share}, tags)
    history = plots.of_periods(problem, tracking.monitored(problem), tracking.validated(problem))
    tracking.add_figure(drifted["run_id"], history, "history.png")
    return {
        **now,
        "labelled_share": share,
        "metric": now[name],
        "holdout": champion.metrics[name],
        "trained_on": drifted["trained_on"],
        "stored": bool(stored),
        "decayed": decayed,
    }


def summary(
    problem: Problem, drifted: Mapping[str, Any], performance: Mapping[str, Any]
) -> list[str]:
    """Return the lines that describe a period."""
    limits = problem.limits
    named = _named(drifted["columns"]) or "none"
    lines = [
        f"{problem.unit} {drifted['period']}, champion {drifted['champion']}",
        f"drifted: {drifted['share']:.0%} of the columns (limit {limits.share:.0%}); "
        f"furthest by {drift.METHOD}: {named}",
    ]
    if drifted["seasonal"]:
        lines.append(f"changed with the season, not counted: {_named(drifted['seasonal'])}")
    return [*lines, _performance(problem, performance)]


def _named(columns: Mapping[str, float]) -> str:
    # XCom does not keep the order.
    worst = sorted(columns.items(), key=lambda one: -one[1])[:COLUMNS_NAMED]
    return ", ".join(f"{name} {value:.2f}" for name, value in worst)


def alert(
    problem: Problem, drifted: Mapping[str, Any], performance: Mapping[str, Any]
) -> Alert | None:
    """Return the alert for drift past the threshold or a decayed champion, or None.

    Drift of a period that the champion was trained with is not reported again.
    """
    reasons = {
        f"the {problem.rows} have drifted": drifted["past_threshold"] and drifted["news"],
        "the champion has decayed": performance["decayed"],
    }
    if not any(reasons.values()):
        return None
    words = " and ".join(reason for reason, holds in reasons.items() if holds)
    return Alert(
        f"{problem.name} {drifted['period']}: {words}",
        summary(problem, drifted, performance),
        {"drift report": tracking.link_to_run(drifted["run_id"])},
    )


def _performance(problem: Problem, performance: Mapping[str, Any]) -> str:
    name, limit = scores.metric_of(problem), problem.limits.loss
    words = name.replace("_", " ").upper()
    if performance["metric"] is None:
        share = performance["labelled_share"]
        return f"performance: not yet, {share:.0%} of the {problem.rows} have a label"
    seen = f" (it was trained on this {problem.unit})" if performance["trained_on"] else ""
    worse = f"{limit:.0%}" if scores.METRICS[name].relative else f"{limit}"
    others = ", ".join(
        f"{one.replace('_', ' ')} {performance[one]:.4f}"
        for one in scores.SHOWN[problem.kind] if one != name
    )  # fmt: skip
    return (
        f"{words} {performance['metric']:.4f}{seen}, on its hold-out {performance['holdout']:.4f} "
        f"(limit {worse} worse); {others}"
    )


def _model(problem: Problem, version_or_alias: str) -> registry.Registered:
    found = registry.load(problem.name, version_or_alias)
    if found is None:
        command = f"inv trigger {problem.dag('training')}"
        raise Refused(f"{problem.name} has no {version_or_alias} to monitor: {command}")
    return found
