"""Evaluate the results of the work: canary, pipelines, DAG files, tasks, models, drift.

Besides the states of services, a result can be "running", or "none" if there is none yet.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from status.broker import QUEUE, STARTED_SECONDS, Broker
from status.metadata import CANARY, ROLES, Group, Metadata, Run
from status.models import ALIASES, Models
from status.verdict import Verdict

SHOWN_METRICS = ("auc", "log_loss", "rmse", "mae", "macro_f1", "accuracy")
MAX_METRICS = 2
# In the order of the canary's steps, which its result, a JSON object, does not keep.
HOPS = ("queued", "client", "run", "metric", "artifact", "model", "prune")
# A canary that waited this long in the queue shows that others wait too.
QUEUED_LIMIT_SECONDS = 60
# A free worker takes a task from its queues at once, also just after it has started.
UNSERVED_SECONDS = 30
WAITING_SECONDS = 600
# The scheduler ends a silent task after 150 s, and 40 s in which it also asks the API server.
SILENT_SECONDS = 240


def problems(metadata: Metadata | None, models: Mapping[str, Models] | None) -> list[str]:
    """Return the problems that Airflow has pipelines for or MLflow has experiments of."""
    return sorted({*(metadata.problems if metadata else ()), *(models or ())})


def label(role: str, problem: str, problems: Sequence[str]) -> str:
    """Return the name of a result: its role, with the problem if there are several."""
    return role if len(problems) < 2 else f"{role} {problem}"


def dag_ids(metadata: Metadata | None, models: Mapping[str, Models] | None) -> dict[str, str]:
    """Return the DAG whose newest run is a result, by the name of the result."""
    names, dags = problems(metadata, models), {CANARY: CANARY}
    for problem, roles in (metadata.problems if metadata else {}).items():
        dags |= {label(role, problem, names): dag for role, dag in roles.items()}
    return dags


def verdicts(
    metadata: Metadata | None,
    models: Mapping[str, Models] | None,
    broker: Broker | None = None,
) -> list[Verdict]:
    """Return the results of the canary, DAG files and problems, and of rarer faults that exist.

    Without Redis, and if it does not answer, `broker` is None.
    """
    names = problems(metadata, models)
    return [*_airflow_verdicts(metadata, names, broker), *_mlflow_verdicts(models, names)]


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


def _airflow_verdicts(
    metadata: Metadata | None, names: Sequence[str], broker: Broker | None
) -> list[Verdict]:
    pipelines = [(label(role, one, names), one, role) for one in names for role in ROLES]
    if metadata is None:
        shown = (CANARY, *(name for name, _, _ in pipelines), "dag-files")
        return [Verdict(name, "unknown", "no data from PostgreSQL") for name in shown]
    hops = ", ".join(f"{hop} {metadata.hops[hop]:.2f} s" for hop in HOPS if hop in metadata.hops)
    return [
        _canary(metadata, hops),
        *(_run(name, _newest_run(metadata, one, role)) for name, one, role in pipelines),
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


def _newest_run(metadata: Metadata, problem: str, role: str) -> Run | None:
    return metadata.runs.get(metadata.problems.get(problem, {}).get(role, ""))


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


def _mlflow_verdicts(
    models: Mapping[str, Models] | None, names: Sequence[str]
) -> Iterator[Verdict]:
    for problem in names:
        found = None if models is None else models.get(problem, Models())
        for alias in ALIASES:
            yield _version(label(alias, problem, names), alias, problem, found)
        yield _drift(label("drift", problem, names), found)


def _version(name: str, alias: str, problem: str, models: Models | None) -> Verdict:
    if models is None:
        return Verdict(name, "unknown", "no data from MLflow")
    version = models.versions.get(alias)
    if version is None:
        return Verdict(name, "none", f"no version of {problem}")
    shown = dict.fromkeys((models.metric, *SHOWN_METRICS))
    metrics = [
        f"{one.replace('_', ' ')} {version.metrics[one]:.4f}"
        for one in shown
        if one in version.metrics
    ]
    until = [f"data to {version.until}"] if version.until else []
    parts = [f"version {version.version}", *until, *metrics[:MAX_METRICS]]
    return Verdict(name, "up", ", ".join(parts))


def _drift(name: str, models: Models | None) -> Verdict:
    if models is None:
        return Verdict(name, "unknown", "no data from MLflow")
    if not models.drift:
        return Verdict(name, "none", "no period checked yet")
    period, share = max(models.drift.items())
    state = "degraded" if share >= models.limit else "up"
    detail = f"{period}: {share:.0%} of the columns (limit {models.limit:.0%})"
    return Verdict(name, state, detail)
