"""Evaluate the results of the work: canary, pipelines, DAG files, patches, models and drift.

Besides the states of services, a result can be "running", or "none" if there is none yet.
"""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

from status.metadata import CANARY, PIPELINES, Metadata, Run
from status.models import ALIASES, DRIFT_LIMIT, MODEL, Models, Version
from status.verdict import Verdict

SHOWN_METRICS = ("auc", "log_loss")
# In the order of the canary's steps, which its result, a JSON object, does not keep.
HOPS = ("queued", "client", "run", "metric", "artifact", "model", "prune")


def names() -> list[str]:
    """Return the names of the results that are always shown, in the page's order."""
    return [CANARY, *PIPELINES, "dag-files", *ALIASES, "drift"]


def verdicts(metadata: Metadata | None, models: Models | None) -> list[Verdict]:
    """Return a verdict for each of `names()`, and one for inactive patches if there are any."""
    return [*_airflow_verdicts(metadata), *_mlflow_verdicts(models)]


def elapsed(seconds: float) -> str:
    """Format a duration in the largest unit that fits, rounded down."""
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{int(seconds // size)} {unit}"
    return f"{int(max(seconds, 0))} s"


def _airflow_verdicts(metadata: Metadata | None) -> list[Verdict]:
    if metadata is None:
        reason = "no data from PostgreSQL"
        return [Verdict(name, "unknown", reason) for name in (CANARY, *PIPELINES, "dag-files")]
    hops = ", ".join(f"{hop} {metadata.hops[hop]:.2f} s" for hop in HOPS if hop in metadata.hops)
    return [
        _run(CANARY, metadata.runs.get(CANARY), hops),
        *(_run(name, metadata.runs.get(dag_id)) for name, dag_id in PIPELINES.items()),
        _dag_files(metadata),
        *_patches(metadata),
    ]


def _run(name: str, run: Run | None, detail: str = "") -> Verdict:
    if run is None:
        return Verdict(name, "none", "no run yet")
    if run.ended is None:
        progress = run.state if run.started is None else f"{run.state} for {elapsed(run.started)}"
        return Verdict(name, "running", progress)
    ended = datetime.now(UTC) - timedelta(seconds=run.ended)
    took = elapsed((run.started or run.ended) - run.ended)
    if run.state == "success":
        return Verdict(name, "up", detail or f"succeeded in {took}", seen=ended)
    return Verdict(name, "down", f"{run.state} after {took}", seen=ended)


def _dag_files(metadata: Metadata) -> Verdict:
    if not metadata.broken_files:
        return Verdict("dag-files", "up", f"{metadata.dags} DAGs, no import errors")
    number = metadata.broken_files
    file, reason = metadata.broken[0]
    errors = "1 import error" if number == 1 else f"{number} import errors, newest"
    return Verdict("dag-files", "down", f"{errors}: {file:.80}: {reason:.160}")


def _patches(metadata: Metadata) -> Iterator[Verdict]:
    """Yield one verdict if patches are inactive, otherwise nothing."""
    if inactive := metadata.inactive_patches:
        reasons = "; ".join(f"{name}: {why}" for name, why in inactive.items())
        yield Verdict("patches", "degraded", f"{len(inactive)} not active: {reasons:.400}")


def _mlflow_verdicts(models: Models | None) -> list[Verdict]:
    if models is None:
        return [Verdict(name, "unknown", "no data from MLflow") for name in (*ALIASES, "drift")]
    versions = [_version(alias, models.versions.get(alias)) for alias in ALIASES]
    return [*versions, _drift(models)]


def _version(alias: str, version: Version | None) -> Verdict:
    if version is None:
        return Verdict(alias, "none", f"no version of {MODEL}")
    metrics = [
        f"{name.replace('_', ' ')} {version.metrics[name]:.4f}"
        for name in SHOWN_METRICS
        if name in version.metrics
    ]
    until = [f"data to {version.until}"] if version.until else []
    return Verdict(alias, "up", ", ".join([f"version {version.version}", *until, *metrics]))


def _drift(models: Models) -> Verdict:
    if not models.drift:
        return Verdict("drift", "none", "no month checked yet")
    month, share = max(models.drift.items())
    state = "degraded" if share >= DRIFT_LIMIT else "up"
    detail = f"{month}: {share:.0%} of the columns (limit {DRIFT_LIMIT:.0%})"
    return Verdict("drift", state, detail)
