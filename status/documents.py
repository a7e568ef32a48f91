"""Render a board for programs: the JSON document of /status.json and the metrics of /metrics."""

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

from prometheus_client import CollectorRegistry, Gauge, generate_latest

from status.board import Board, ServiceStatus
from status.metadata import UNFINISHED_STATES
from status.probes import Round

# Metric name, help text, label name ("" for none), and the values by label or the single value.
Family = tuple[str, str, str, Mapping[str, float] | float]


def document(board: Board, project: str = "", stack: str = "") -> dict[str, Any]:
    """Return the board as JSON data; README.md in this folder documents each field."""
    latest, data, models = board.round, board.round.metadata, board.round.models
    return {
        "version": 1,
        "project": project,
        "stack": stack,
        "status": board.status,
        "checked_at": _iso(board.checked_at),
        "services": [_service(service, board.checked_at) for service in board.services],
        "work": [
            {"name": one.name, "state": one.state, "detail": one.detail, "at": _iso(one.seen)}
            for one in latest.work
        ],
        "queue": {"waiting": latest.queue, "oldest_seconds": data and data.oldest_queued},
        "tasks": data and data.tasks,
        "models": models and {
            alias: {"version": one.version, "until": one.until, "metrics": one.metrics}
            for alias, one in models.versions.items()
        },
        "drift": models and models.drift,
        "stale_files": data and data.stale_files,
    }  # fmt: skip


def metrics(board: Board) -> bytes:
    """Return the board in Prometheus's text format, without unknown values."""
    registry = CollectorRegistry()
    for name, text, label, values in [*_verdict_families(board), *_figure_families(board.round)]:
        gauge = Gauge(f"mlops_{name}", text, [label] if label else [], registry=registry)
        if isinstance(values, Mapping):
            for key, value in values.items():
                gauge.labels(key).set(value)
        else:
            gauge.set(values)
    return generate_latest(registry)


def _verdict_families(board: Board) -> Iterator[Family]:
    services, work = [service.verdict for service in board.services], board.round.work
    up = {one.name: one.state == "up" for one in services}
    yield "service_up", "1 if the service is up.", "service", up
    latency = {one.name: one.latency_ms / 1000 for one in services if one.latency_ms}
    yield "probe_latency_seconds", "Response time in the last round.", "service", latency
    good = {one.name: one.state == "up" for one in work if one.state not in ("running", "none")}
    yield "work_up", "1 if the last result was good.", "work", good
    now = datetime.now(UTC)
    ages = {one.name: (now - one.seen).total_seconds() for one in work if one.seen}
    yield "work_age_seconds", "Time since the last run finished.", "work", ages


def _figure_families(latest: Round) -> Iterator[Family]:
    if latest.queue is not None:
        yield "queue_length", "Waiting tasks.", "", latest.queue
    if data := latest.metadata:
        yield "queue_oldest_seconds", "Age of the oldest waiting task.", "", data.oldest_queued or 0
        tasks = {state: data.tasks.get(state, 0) for state in UNFINISHED_STATES}
        yield "tasks", "Unfinished task instances.", "state", tasks
        yield "canary_hop_seconds", "Steps of the last canary run.", "hop", data.hops
        yield "dag_import_errors", "DAG files that cannot be imported.", "", data.broken_files
        yield "database_connections", "Connections in use.", "", data.connections
        yield "database_bytes", "Size of the database.", "database", data.bytes
    if models := latest.models:
        for alias, version in models.versions.items():
            yield f"{alias}_metric", "Metrics of its training run.", "metric", version.metrics
        yield "drift_share", "Share of drifted columns, 0 to 1.", "month", models.drift
    if disk := latest.disk:
        yield "disk_free_bytes", "Free space.", "", disk.free
        yield "disk_size_bytes", "Size of the file system.", "", disk.size


def _service(service: ServiceStatus, checked_at: datetime | None) -> dict[str, Any]:
    verdict = service.verdict
    # A heartbeat older than the service's start is from its previous process.
    seen = verdict.seen or checked_at
    fields = {name: getattr(verdict, name) for name in ("name", "state", "detail", "latency_ms")}
    return {**fields, "since": _iso(service.since), "last_seen": _iso(seen)}


def _iso(moment: datetime | None) -> str | None:
    return moment.isoformat(timespec="milliseconds") if moment else None
