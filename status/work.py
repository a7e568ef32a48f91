"""Evaluate the results of the work: canary, pipelines, DAG files, tasks, models, drift.

Besides the states of services, a result can be "running", or "none" if there is none yet.
"""

from collections.abc import Iterable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from status.broker import QUEUE, STARTED_SECONDS, Broker
from status.metadata import CANARY, PIPELINES, Group, Metadata, Run
from status.models import ALIASES, DRIFT_LIMIT, MODEL, Models, Version
from status.verdict import Verdict

SHOWN_METRICS = ("auc", "log_loss")
# In the order of the canary's steps, which its result, a JSON object, does not keep.
HOPS = ("queued", "client", "run", "metric", "artifact", "model", "prune")
# A canary that waited this long in the queue shows that others wait too.
QUEUED_LIMIT_SECONDS = 60
# A free worker takes a task from its queues at once, also just after it has started.
UNSERVED_SECONDS = 30
WAITING_SECONDS = 600
# The scheduler ends a silent task after 150 s, and 40 s in which it also asks the API server.
SILENT_SECONDS = 240


def names() -> list[str]:
    """Return the names of the results that are always shown, in the page's order."""
    return [CANARY, *PIPELINES, "dag-files", *ALIASES, "drift"]


def verdicts(
    metadata: Metadata | None, models: Models | None, broker: Broker | None = None
) -> list[Verdict]:
    """Return a verdict for each of `names()`, and one for each of the rarer faults that exist.

    Without Redis, and if it does not answer, `broker` is None.
    """
    return [*_airflow_verdicts(metadata, broker), *_mlflow_verdicts(models)]


def elapsed(seconds: float) -> str:
    """Format a duration in the largest unit that fits, rounded down."""
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{int(seconds // size)} {unit}"
    return f"{int(max(seconds, 0))} s"


def left_messages(metadata: Metadata, broker: Broker) -> int:
    """Return how many messages a worker received long ago although none of their tasks runs."""
    return max(0, broker.received - _running(metadata))


def unserved(metadata: Metadata, broker: Broker, before: frozenset[str]) -> frozenset[str]:
    """Return the queues in which tasks wait although no worker serves them.

    A worker shows which queues it does not serve only while it waits for messages. Until then the
    queues from `before` remain, unless one of their tasks runs.
    """
    long = [one for one in metadata.groups if one.seconds >= UNSERVED_SECONDS]
    queues = {one.queue for one in long if one.state == "queued"} - {QUEUE}
    if broker.free < broker.workers:
        queues &= before
    return frozenset(queues - {one.queue for one in metadata.groups if one.state == "running"})


def _airflow_verdicts(metadata: Metadata | None, broker: Broker | None) -> list[Verdict]:
    if metadata is None:
        reason = "no data from PostgreSQL"
        return [Verdict(name, "unknown", reason) for name in (CANARY, *PIPELINES, "dag-files")]
    hops = ", ".join(f"{hop} {metadata.hops[hop]:.2f} s" for hop in HOPS if hop in metadata.hops)
    return [
        _canary(metadata, hops),
        *(_run(name, metadata.runs.get(dag_id)) for name, dag_id in PIPELINES.items()),
        _dag_files(metadata),
        *_silent_tasks(metadata),
        *_waiting_tasks(metadata, broker),
        *_unserved_queues(metadata, broker),
        *_triggers(metadata),
        *_patches(metadata),
    ]


def _canary(metadata: Metadata, hops: str) -> Verdict:
    verdict, queued = _run(CANARY, metadata.runs.get(CANARY), hops), metadata.hops.get("queued", 0)
    if verdict.state != "up" or queued < QUEUED_LIMIT_SECONDS:
        return verdict
    detail = f"waited {elapsed(queued)} in the queue; {hops}"
    return replace(verdict, state="degraded", detail=detail)


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


def _silent_tasks(metadata: Metadata) -> Iterator[Verdict]:
    """Yield one verdict if a task is without heartbeats for longer than the scheduler allows."""
    running = [group for group in metadata.groups if group.state in ("running", "restarting")]
    if (oldest := _oldest(running)) and oldest.seconds >= SILENT_SECONDS:
        silence = elapsed(oldest.seconds)
        detail = f"a task of DAG {oldest.dag_id:.80} has sent no heartbeat for {silence}"
        yield Verdict("silent-tasks", "degraded", detail)


def _waiting_tasks(metadata: Metadata, broker: Broker | None) -> Iterator[Verdict]:
    """Yield one verdict if tasks have waited long for a slot or a pool, otherwise nothing."""
    if oldest := _oldest(group for group in metadata.groups if _is_late(group, metadata, broker)):
        age, reason = elapsed(oldest.seconds), _reason(oldest, metadata, broker)
        text = f"{oldest.number} waiting, the oldest for {age} (DAG {oldest.dag_id:.80}): {reason}"
        yield Verdict("waiting-tasks", "degraded", text)


def _unserved_queues(metadata: Metadata, broker: Broker | None) -> Iterator[Verdict]:
    """Yield one verdict if tasks wait in queues that no worker serves, otherwise nothing."""
    groups = [group for group in metadata.groups if _is_unserved(group, broker)]
    if oldest := _oldest(groups):
        number, names = sum(one.number for one in groups), sorted({one.queue for one in groups})
        text = f"{number} waiting in {', '.join(names):.160}, which no worker serves"
        yield Verdict("queues", "degraded", f"{text} (DAG {oldest.dag_id:.80})")


def _is_late(group: Group, metadata: Metadata, broker: Broker | None) -> bool:
    if group.state == "scheduled":
        # Without workers, a task that waits for a slot is not queued yet.
        full = group.pool in metadata.full_pools or 0 < metadata.slots <= _running(metadata)
        return full and group.seconds >= WAITING_SECONDS
    if group.state != "queued" or _is_unserved(group, broker):
        return False
    limit = STARTED_SECONDS if _is_lost(group, metadata, broker) else WAITING_SECONDS
    return group.seconds >= limit


def _is_lost(group: Group, metadata: Metadata, broker: Broker | None) -> bool:
    """Return whether the workers are free, and no message is in the queue that they serve."""
    if broker is None or group.queue != QUEUE or _running(metadata):
        return False
    return broker.free == broker.workers > 0 and not broker.waiting


def _is_unserved(group: Group, broker: Broker | None) -> bool:
    return group.state == "queued" and broker is not None and group.queue in broker.unserved


def _reason(group: Group, metadata: Metadata, broker: Broker | None) -> str:
    if group.state == "scheduled" and group.pool in metadata.full_pools:
        return f"pool {group.pool:.80} is full"
    if broker and not broker.workers:
        return "no worker is connected"
    if broker and _is_lost(group, metadata, broker):
        left = left_messages(metadata, broker)
        where = f"one that is gone has {left} of them" if left else "none is in Redis"
        return f"a worker is free, but {where}"
    return "all slots are busy" if _running(metadata) else "unknown reason"


def _oldest(groups: Iterable[Group]) -> Group | None:
    return max(groups, key=lambda group: group.seconds, default=None)


def _running(metadata: Metadata) -> int:
    return sum(metadata.tasks.get(state, 0) for state in ("running", "restarting"))


def _triggers(metadata: Metadata) -> Iterator[Verdict]:
    """Yield one verdict if triggers of deferred tasks make no progress, otherwise nothing."""
    if number := metadata.idle_triggers:
        yield Verdict("triggers", "degraded", f"{number} wait, but no triggerer makes progress")


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
