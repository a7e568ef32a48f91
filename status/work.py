"""The work that the stack is for, judged: canary, pipelines, DAG files, model, drift.

Beside the states of services there are "running", and "none" for what there is not yet.
"""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

from status.metadata import CANARY, PIPELINES, Metadata, Run
from status.models import ALIASES, DRIFT_LIMIT, MODEL, Models, Version
from status.verdict import Verdict

SHOWN_METRICS = ("auc", "log_loss")
# In the order in which the canary does them; a task's result loses it.
HOPS = ("queued", "client", "run", "metric", "artifact", "model", "prune")


def names() -> list[str]:
    """Name what is always judged here, in the page's order."""
    return [CANARY, *PIPELINES, "dag-files", *ALIASES, "drift"]


def judged(metadata: Metadata | None, models: Models | None) -> list[Verdict]:
    """Return a verdict for each of `names()`, and for what else is wrong; unknown is a verdict."""
    return [*_of_airflow(metadata), *_of_mlflow(models)]


def elapsed(seconds: float) -> str:
    """Say a time in the largest fitting unit."""
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{int(seconds // size)} {unit}"
    return f"{int(max(seconds, 0))} s"


def _of_airflow(metadata: Metadata | None) -> list[Verdict]:
    if metadata is None:
        why = "PostgreSQL cannot tell"
        return [Verdict(name, "unknown", why) for name in (CANARY, *PIPELINES, "dag-files")]
    hops = ", ".join(f"{hop} {metadata.hops[hop]:.2f} s" for hop in HOPS if hop in metadata.hops)
    return [
        _run(CANARY, metadata.runs.get(CANARY), hops),
        *(_run(name, metadata.runs.get(dag_id)) for name, dag_id in PIPELINES.items()),
        _dag_files(metadata),
        *_patches(metadata),
    ]


def _run(name: str, run: Run | None, told: str = "") -> Verdict:
    if run is None:
        return Verdict(name, "none", "no run yet")
    if run.ended is None:
        waits = run.state if run.begun is None else f"{run.state} for {elapsed(run.begun)}"
        return Verdict(name, "running", waits)
    ended = datetime.now(UTC) - timedelta(seconds=run.ended)
    took = elapsed((run.begun or run.ended) - run.ended)
    if run.state == "success":
        return Verdict(name, "up", told or f"succeeded in {took}", seen=ended)
    return Verdict(name, "down", f"{run.state} after {took}", seen=ended)


def _dag_files(metadata: Metadata) -> Verdict:
    if not metadata.broken_files:
        return Verdict("dag-files", "up", f"all import, {metadata.dags} DAGs")
    number = metadata.broken_files
    file, reason = metadata.broken[0]
    does = "1 does not import" if number == 1 else f"{number} do not import, the newest"
    return Verdict("dag-files", "down", f"{does}: {file:.80}: {reason:.160}")


def _patches(metadata: Metadata) -> Iterator[Verdict]:
    """Yield one verdict if patches are not active; that they are is no news."""
    if inactive := metadata.inactive_patches:
        reasons = "; ".join(f"{name}: {why}" for name, why in inactive.items())
        yield Verdict("patches", "degraded", f"{len(inactive)} not active: {reasons:.400}")


def _of_mlflow(models: Models | None) -> list[Verdict]:
    if models is None:
        return [Verdict(name, "unknown", "MLflow cannot tell") for name in (*ALIASES, "drift")]
    held = [_version(alias, models.versions.get(alias)) for alias in ALIASES]
    return [*held, _drift(models)]


def _version(alias: str, held: Version | None) -> Verdict:
    if held is None:
        return Verdict(alias, "none", f"no version of {MODEL}")
    metrics = [
        f"{name.replace('_', ' ')} {held.metrics[name]:.4f}"
        for name in SHOWN_METRICS
        if name in held.metrics
    ]
    until = [f"data to {held.until}"] if held.until else []
    return Verdict(alias, "up", ", ".join([f"version {held.version}", *until, *metrics]))


def _drift(models: Models) -> Verdict:
    if not models.drift:
        return Verdict("drift", "none", "no month was looked at yet")
    month, share = max(models.drift.items())
    past = share >= DRIFT_LIMIT
    limit = f"limit {DRIFT_LIMIT:.0%}"
    return Verdict(
        "drift", "degraded" if past else "up", f"{month}: {share:.0%} of the columns ({limit})"
    )
