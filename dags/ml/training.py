"""The steps of a training, as plain functions from files to files and MLflow runs."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from ml import MODEL_NAME, data, drift, features, model, plots, registry, tracking
from ml.data import TARGET
from ml.features import INPUTS

EXAMPLE_ROWS = 5
SCORES = ("auc", "log_loss", "calibration_error")


def ingest(folder: Path, until: str) -> dict[str, Any]:
    """Read and check the flights up to the month `until` (blank: all); keep them in `folder`.

    Raises Refused for a bad batch, naming its rows.
    """
    flights = data.check(data.up_to(data.read(), until))
    return {
        "flights": data.save(flights, folder / "flights.parquet"),
        "sha256": data.fingerprint(flights),
        "until": data.last_month(flights),
        "rows": len(flights),
    }


def make_features(folder: Path, flights: str) -> str:
    """Label the flights and add their features; return the file."""
    labelled = data.labelled(data.load(flights))
    # Raw columns win: what a model is asked about later has their types.
    table = features.make(labelled).assign(**labelled)
    return data.save(table, folder / "features.parquet")


def train(
    kind: str, table: str, ingested: Mapping[str, Any], params: Mapping[str, Any], attempt: str
) -> dict[str, Any]:
    """Train one of model.KINDS on all but the held-out months and log it.

    Raises Refused where nothing can be held out.
    """
    earlier, later = model.split(data.load(table), params["holdout_months"])
    fitted = model.train(kind, earlier, params["seed"])
    chance = model.score(fitted, later)
    metrics = model.evaluate(later[TARGET], chance)
    monthly = model.by_month(later, chance)
    importance = model.importance(fitted, later, params["seed"])
    run_id, model_uri = tracking.log_training(
        f"{attempt}/{kind}",
        fitted,
        earlier[INPUTS].head(EXAMPLE_ROWS),
        params={**params, "model": kind, "until": ingested["until"], **_spans(earlier, later)},
        metrics={**metrics, **{f"auc.{month}": one["auc"] for month, one in monthly.items()}},
        tags={"data_sha256": ingested["sha256"]},
        figures=plots.of_training(kind, later[TARGET], chance, importance),
        monthly=pd.DataFrame(monthly).T.rename_axis("month").reset_index(),
        reference=model.as_seen(fitted, drift.sample(earlier, params["seed"])),
    )
    return {"kind": kind, "run_id": run_id, "model_uri": model_uri, "metrics": metrics}


def validate(
    table: str, trained: Sequence[Mapping[str, Any]], until: str, holdout_months: int
) -> dict[str, Any]:
    """Compare the best of what was trained with the champion, on the same flights; register it.

    Returns its version, the alias it earned, and the lines to report. Raises Refused where the
    champion cannot score these flights.
    """
    chosen = model.pick({one["kind"]: one["metrics"] for one in trained})
    candidate = next(one for one in trained if one["kind"] == chosen)
    _, later = model.split(data.load(table), holdout_months)
    champion = registry.load("champion")
    if champion and champion.run_id == candidate["run_id"]:
        champion = None  # An earlier try of this task got as far as the alias.
    # The model as the registry gives it back is what would be served.
    scores = _scores(registry.load_logged(candidate["model_uri"]), later)
    present = _scores(champion.model, later) if champion else None
    alias = model.alias(scores, present)
    compared = {f"champion_{name}": value for name, value in (present or {}).items()}
    tracking.add_to(candidate["run_id"], compared, {"verdict": alias})
    version = registry.register(candidate["run_id"], candidate["model_uri"], {"model": chosen})
    registry.award(alias, version)
    new = (f"version {version} ({chosen}, data to {until})", scores)
    roles = {"champion": new}
    if champion and present:
        old = (f"{champion}{_flattered(champion, later)}", present)
        moved = alias == "champion"
        roles |= {"champion before": old} if moved else {"champion": old, "challenger": new}
    return {
        "version": version,
        "alias": alias,
        "until": until,
        "auc": scores["auc"],
        "report": _report(later, roles),
    }


def _flattered(champion: registry.Registered, later: pd.DataFrame) -> str:
    """Words for a champion that was trained on some of what is held out, as in a replay."""
    until = champion.params["trained_days"].partition("/")[2]
    return ", has seen these" if until >= f"{later['date'].min():%Y-%m-%d}" else ""


def _scores(fitted: Any, later: pd.DataFrame) -> model.Metrics:
    return model.evaluate(later[TARGET], model.score(fitted, later))


def _report(later: pd.DataFrame, roles: Mapping[str, tuple[str, model.Metrics]]) -> list[str]:
    """Champion and challenger by their scores on the same held-out flights, and where to look."""
    rows = [f"held out: {len(later):,} flights, {' to '.join(_days(later))}"]
    for role, (who, scores) in roles.items():
        told = "  ".join(f"{name.replace('_', ' ')} {scores[name]:.4f}" for name in SCORES)
        rows.append(f"{role:<16}{who:<56}{told}")
    return [*rows, f"MLflow          {tracking.link(f'models/{MODEL_NAME}')}"]


def _days(part: pd.DataFrame) -> tuple[str, str]:
    """The first and the last day of flights."""
    return f"{part['date'].min():%Y-%m-%d}", f"{part['date'].max():%Y-%m-%d}"


def _spans(earlier: pd.DataFrame, later: pd.DataFrame) -> dict[str, Any]:
    """What was trained on and held out, as parameters."""
    parts = {"trained": earlier, "held_out": later}
    return {
        **{f"{name}_rows": len(part) for name, part in parts.items()},
        **{f"{name}_days": "/".join(_days(part)) for name, part in parts.items()},
    }
