"""Render a board for programs: the JSON document of /status.json and the metrics of /metrics."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from prometheus_client import CollectorRegistry, Gauge, generate_latest

from status.board import Board, ServiceStatus
from status.metadata import UNFINISHED_STATES
from status.models import ALIASES, Models
from status.probes import Round
from status.work import dag_ids

# Metric name, help text, label names, and the values by the labels' values.
Family = tuple[str, str, Sequence[str], Mapping[tuple[str, ...], float]]


def document(board: Board, project: str = "", stack: str = "") -> dict[str, Any]:
    """Return the board as JSON data; README.md in this folder documents each field."""
    latest, data, models = board.round, board.round.metadata, board.round.models
    dags = dag_ids(data, models)
    return {
        "version": 2,
        "project": project,
        "stack": stack,
        "status": board.status,
        "checked_at": _iso(board.checked_at),
        "services": [_service(service, board.checked_at) for service in board.services],
        "work": [
            {"name": one.name, "state": one.state, "detail": one.detail, "at": _iso(one.seen),
             "dag": dags.get(one.name)}
            for one in latest.work
        ],
        "queue": {"waiting": latest.queue, "oldest_seconds": data and data.oldest_queued},
        "tasks": data and data.tasks,
        "problems": None if models is None else {
            problem: _problem(one) for problem, one in models.items()
        },
        "stale_files": data and data.stale_files,
    }  # fmt: skip


def metrics(board: Board) -> bytes:
    """Return the board in Prometheus's text format, without unknown values."""
    registry = CollectorRegistry()
    for name, text, labels, values in [*_verdict_families(board), *_figure_families(board.round)]:
        gauge = Gauge(f"mlops_{name}", text, labels, registry=registry)
        for key, value in values.items():
            (gauge.labels(*key) if labels else gauge).set(value)
    return generate_latest(registry)


def _problem(models: Models) -> dict[str, Any]:
    return {
        "models": {
            alias: {"version": one.version, "until": one.until, "metrics": one.metrics}
            for alias, one in models.versions.items()
        },
        "drift": models.drift,
        "drift_limit": models.limit,
    }


def _one(name: str, text: str, value: float) -> Family:
    return name, text, (), {(): value}


def _by(name: str, text: str, label: str, values: Mapping[str, float]) -> Family:
    return name, text, (label,), {(key,): value for key, value in values.items()}


def _verdict_families(board: Board) -> Iterator[Family]:
    services, work = [service.verdict for service in board.services], board.round.work
    up = {one.name: float(one.state == "up") for one in services}
    yield _by("service_up", "1 if the service is up.", "service", up)
    latency = {one.name: one.latency_ms / 1000 for one in services if one.latency_ms}
    text = "Response time in the last round."
    yield _by("probe_latency_seconds", text, "service", latency)
    finished = [one for one in work if one.state not in ("running", "none")]
    good = {one.name: float(one.state == "up") for one in finished}
    yield _by("work_up", "1 if the last result was good.", "work", good)
    now = datetime.now(UTC)
    ages = {one.name: (now - one.seen).total_seconds() for one in work if one.seen}
    yield _by("work_age_seconds", "Time since the last run finished.", "work", ages)


def _figure_families(latest: Round) -> Iterator[Family]:
    if latest.queue is not None:
        yield _one("queue_length", "Waiting tasks.", latest.queue)
    if data := latest.metadata:
        oldest = data.oldest_queued or 0
        yield _one("queue_oldest_seconds", "Age of the oldest waiting task.", oldest)
        tasks = {state: float(data.tasks.get(state, 0)) for state in UNFINISHED_STATES}
        yield _by("tasks", "Unfinished task instances.", "state", tasks)
        yield _by("canary_hop_seconds", "Steps of the last canary run.", "hop", data.hops)
        broken = data.broken_files
        yield _one("dag_import_errors", "DAG files that cannot be imported.", broken)
        yield _one("database_connections", "Connections in use.", data.connections)
        yield _by("database_bytes", "Size of the database.", "database", data.bytes)
    if latest.models is not None:
        yield from _model_families(latest.models)
    if disk := latest.disk:
        yield _one("disk_free_bytes", "Free space.", disk.free)
        yield _one("disk_size_bytes", "Size of the file system.", disk.size)


def _model_families(models: Mapping[str, Models]) -> Iterator[Family]:
    for alias in ALIASES:
        values: dict[tuple[str, ...], float] = {
            (problem, name): value
            for problem, one in models.items() if alias in one.versions
            for name, value in one.versions[alias].metrics.items()
        }  # fmt: skip
        yield f"{alias}_metric", "Metrics of its training run.", ("problem", "metric"), values
    shares: dict[tuple[str, ...], float] = {
        (problem, period): share
        for problem, one in models.items() for period, share in one.drift.items()
    }  # fmt: skip
    yield "drift_share", "Share of drifted columns, 0 to 1.", ("problem", "period"), shares


def _service(service: ServiceStatus, checked_at: datetime | None) -> dict[str, Any]:
    verdict = service.verdict
    # A heartbeat older than the service's start is from its previous process.
    seen = verdict.seen or checked_at
    fields = {name: getattr(verdict, name) for name in ("name", "state", "detail", "latency_ms")}
    return {**fields, "since": _iso(service.since), "last_seen": _iso(seen)}


def _iso(moment: datetime | None) -> str | None:
    return moment.isoformat(timespec="milliseconds") if moment else None
