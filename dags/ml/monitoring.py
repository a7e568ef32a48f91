"""The steps of monitoring one month, as plain functions from files to files and MLflow runs."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ml import MODEL_NAME, Refused, data, drift, model, plots, registry, tracking
from ml.alerting import Alert
from ml.data import TARGET

COLUMNS_NAMED = 5


def arrive(folder: Path, month: str) -> dict[str, str]:
    """Read and check the flights of `month` ("2013-05"; blank: the newest), as if they just came.

    Raises Refused for a bad batch, naming its rows, and for a month without flights.
    """
    everything = data.read()
    month = month or data.last_month(data.check(everything))
    flights = data.check(data.of(everything, month))
    return {"month": month, "flights": data.save(flights, folder / "month.parquet")}


def measure_drift(arrived: Mapping[str, str], version: str = "champion") -> dict[str, Any]:
    """Compare the month with the flights a model was trained on; log it to MLflow.

    `version` names that model, else it is the champion. Raises Refused where there is none.
    """
    month, champion = arrived["month"], _model(version)
    seen = model.as_seen(champion.model, data.load(arrived["flights"]))
    found = drift.compare(tracking.reference(champion.run_id), seen)
    run_id = tracking.log_month(
        f"{month}/version {champion.version}",
        metrics={
            "drifted_share": found.share,
            **{f"{drift.METHOD}.{name}": value for name, value in found.by_column.items()},
        },
        tags={
            "month": month,
            "champion": champion.version,
            "drifted": str(found.past_threshold),
            "drifted_columns": ", ".join(found.columns),
        },
        texts={"drift.html": found.html, "drift.json": found.json},
    )
    return {
        "month": month,
        "version": champion.version,
        "champion": str(champion),
        "until": champion.params["until"],
        "news": month > champion.params["until"],
        "trained_on": month <= champion.params["trained_days"].partition("/")[2][:7],
        "run_id": run_id,
        "share": found.share,
        "past_threshold": found.past_threshold,
        "columns": {name: found.by_column[name] for name in found.columns},
    }


def measure_performance(arrived: Mapping[str, str], drifted: Mapping[str, Any]) -> dict[str, Any]:
    """Score the month by the champion that drift was measured for, once its labels are in."""
    flights = data.load(arrived["flights"])
    labelled = data.labelled(flights)
    known = len(labelled) / len(flights)
    if known < drift.LABELLED_THRESHOLD or labelled[TARGET].nunique() < 2:
        tracking.add_to(drifted["run_id"], {"labelled_share": known}, {})
        return {"labelled_share": known, "auc": None, "decayed": False}
    champion = _model(drifted["version"])
    now = model.evaluate(labelled[TARGET], model.score(champion.model, labelled))
    decayed = drift.decayed(now["auc"], champion.metrics["auc"])
    tracking.add_to(drifted["run_id"], {**now, "labelled_share": known}, {"decayed": str(decayed)})
    history = plots.of_months(tracking.monitored(), tracking.judged())
    tracking.add_figure(drifted["run_id"], history, "history.png")
    return {
        **now,
        "labelled_share": known,
        "holdout_auc": champion.metrics["auc"],
        "trained_on": drifted["trained_on"],
        "decayed": decayed,
    }


def tell(drifted: Mapping[str, Any], performance: Mapping[str, Any]) -> list[str]:
    """Return what is to say about a month, in lines."""
    # Not in the order it was made: what passes through XCom loses that.
    worst = sorted(drifted["columns"].items(), key=lambda one: -one[1])[:COLUMNS_NAMED]
    named = ", ".join(f"{name} {value:.2f}" for name, value in worst) or "none"
    return [
        f"month {drifted['month']}, champion {drifted['champion']}",
        f"drifted: {drifted['share']:.0%} of the columns (limit {drift.SHARE_THRESHOLD:.0%}); "
        f"furthest by {drift.METHOD}: {named}",
        _performance(performance),
    ]


def alert(drifted: Mapping[str, Any], performance: Mapping[str, Any]) -> Alert | None:
    """Return the alert a month is worth: drift past the threshold or a decayed champion.

    That a month has drifted is no news once a champion was made with it.
    """
    reasons = {
        "the flights have drifted": drifted["past_threshold"] and drifted["news"],
        "the champion has decayed": performance["decayed"],
    }
    if not any(reasons.values()):
        return None
    told = " and ".join(reason for reason, holds in reasons.items() if holds)
    return Alert(
        f"{MODEL_NAME} {drifted['month']}: {told}",
        tell(drifted, performance),
        {"drift report": tracking.link_to_run(drifted["run_id"])},
    )


def _performance(performance: Mapping[str, Any]) -> str:
    if performance["auc"] is None:
        return f"performance: not yet, {performance['labelled_share']:.0%} of the flights arrived"
    seen = " (it was trained on this month)" if performance["trained_on"] else ""
    return (
        f"AUC {performance['auc']:.4f}{seen}, on its hold-out {performance['holdout_auc']:.4f} "
        f"(limit {drift.AUC_LOSS_THRESHOLD} below); log loss {performance['log_loss']:.4f}"
    )


def _model(version_or_alias: str) -> registry.Registered:
    found = registry.load(version_or_alias)
    if found is None:
        raise Refused(
            f"{MODEL_NAME} has no {version_or_alias} to monitor: inv trigger training_pipeline"
        )
    return found
