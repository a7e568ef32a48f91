"""A board for machines: the document of /status.json and the metrics of /metrics."""

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

from prometheus_client import CollectorRegistry, Gauge, generate_latest

from status.board import Board, Shown
from status.metadata import UNDER_WAY
from status.probes import Round

# A metric's name, its help, its label, and the value of each label; without a label the value.
Family = tuple[str, str, str, Mapping[str, float] | float]


def document(board: Board) -> dict[str, Any]:
    """The whole board as JSON; README.md of this folder says what each field means."""
    found, data, models = board.round, board.round.metadata, board.round.models
    return {
        "version": 1,
        "status": board.status,
        "checked_at": _iso(board.checked_at),
        "services": [_service(shown, board.checked_at) for shown in board.services],
        "work": [
            {"name": one.name, "state": one.state, "detail": one.detail, "at": _iso(one.seen)}
            for one in found.work
        ],
        "queue": {"waiting": found.queue, "oldest_seconds": data and data.oldest_queued},
        "tasks": data and data.tasks,
        "models": models and {
            alias: {"version": held.version, "until": held.until, "metrics": held.metrics}
            for alias, held in models.versions.items()
        },
        "drift": models and models.drift,
    }  # fmt: skip


def metrics(board: Board) -> bytes:
    """The board in Prometheus's text format; what is not known is left out."""
    registry = CollectorRegistry()
    for name, told, label, values in [*_of_verdicts(board), *_of_figures(board.round)]:
        gauge = Gauge(f"mlops_{name}", told, [label] if label else [], registry=registry)
        if isinstance(values, Mapping):
            for key, value in values.items():
                gauge.labels(key).set(value)
        else:
            gauge.set(values)
    return generate_latest(registry)


def _of_verdicts(board: Board) -> Iterator[Family]:
    services, work = [shown.verdict for shown in board.services], board.round.work
    up = {one.name: one.state == "up" for one in services}
    yield "service_up", "1 if the service is up.", "service", up
    latency = {one.name: one.latency_ms / 1000 for one in services if one.latency_ms}
    yield "probe_latency_seconds", "Answering time.", "service", latency
    well = {one.name: one.state == "up" for one in work if one.state not in ("running", "none")}
    yield "work_up", "1 if it is well, as the page says.", "work", well
    now = datetime.now(UTC)
    ages = {one.name: (now - one.seen).total_seconds() for one in work if one.seen}
    yield "work_age_seconds", "Time since it last ended.", "work", ages


def _of_figures(found: Round) -> Iterator[Family]:
    if found.queue is not None:
        yield "queue_length", "Tasks that wait.", "", found.queue
    if data := found.metadata:
        yield "queue_oldest_seconds", "Age of the oldest.", "", data.oldest_queued or 0
        tasks = {state: data.tasks.get(state, 0) for state in UNDER_WAY}
        yield "tasks", "Task instances under way.", "state", tasks
        yield "canary_hop_seconds", "Last canary.", "hop", data.hops
        yield "dag_import_errors", "Files that do not import.", "", data.broken_files
        yield "database_connections", "In use.", "", data.connections
        yield "database_bytes", "Size.", "database", data.bytes
    if models := found.models:
        for alias, held in models.versions.items():
            yield f"{alias}_metric", "Of its run.", "metric", held.metrics
        yield "drift_share", "Drifted columns.", "month", models.drift
    if disk := found.disk:
        yield "disk_free_bytes", "Bytes left.", "", disk.free
        yield "disk_size_bytes", "Bytes in all.", "", disk.size


def _service(shown: Shown, checked_at: datetime | None) -> dict[str, Any]:
    verdict = shown.verdict
    # Older than the service's own start, it is a sign of the life before.
    seen = verdict.seen or checked_at
    told = {name: getattr(verdict, name) for name in ("name", "state", "detail", "latency_ms")}
    return {**told, "since": _iso(shown.since), "last_seen": _iso(seen)}


def _iso(moment: datetime | None) -> str | None:
    return moment.isoformat(timespec="milliseconds") if moment else None
