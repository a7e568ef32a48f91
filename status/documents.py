"""A board for machines: the document of /status.json and the metrics of /metrics."""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from status.board import Board, Shown
from status.metadata import UNDER_WAY
from status.verdict import Verdict


def document(board: Board) -> dict[str, Any]:
    """The whole board as JSON; README.md of this folder says what each field means."""
    found = board.round
    models = found.models
    return {
        "version": 1,
        "status": board.status,
        "checked_at": _iso(board.checked_at),
        "services": [_service(shown, board.checked_at) for shown in board.services],
        "work": [_work(one) for one in found.work],
        "queue": {
            "waiting": found.queue,
            "oldest_seconds": found.metadata.oldest_queued if found.metadata else None,
        },
        "tasks": dict(found.metadata.tasks) if found.metadata else None,
        "models": {
            alias: {"version": held.version, "until": held.until, "metrics": dict(held.metrics)}
            for alias, held in models.versions.items()
        } if models else None,
        "drift": dict(models.drift) if models else None,
    }  # fmt: skip


def metrics(board: Board) -> bytes:
    """The board in Prometheus's text format; what is not known is left out."""
    registry = CollectorRegistry()
    registry.register(_Metrics(board))
    return generate_latest(registry)


class _Metrics(Collector):
    """Metrics of one board: the library asks for them once it is registered."""

    def __init__(self, board: Board) -> None:
        self._board = board

    def collect(self) -> Iterator[Metric]:
        """Give each family with a value for each label."""
        verdicts = [shown.verdict for shown in self._board.services]
        up = {one.name: float(one.state == "up") for one in verdicts}
        yield _family("mlops_service_up", "1 if the service is up.", "service", up)
        latency = {one.name: one.latency_ms / 1000 for one in verdicts if one.latency_ms}
        yield _family("mlops_probe_latency_seconds", "Answering time.", "service", latency)
        work = {one.name: float(one.state == "up") for one in self._board.round.work
                if one.state not in ("running", "none")}  # fmt: skip
        yield _family("mlops_work_up", "1 if it is well, as the page says.", "work", work)
        ages = {one.name: _age(one) for one in self._board.round.work if one.seen}
        yield _family("mlops_work_age_seconds", "Time since it last ended.", "work", ages)
        yield from self._of_airflow()
        yield from self._of_mlflow()
        if disk := self._board.round.disk:
            yield GaugeMetricFamily("mlops_disk_free_bytes", "Bytes left.", disk.free)
            yield GaugeMetricFamily("mlops_disk_size_bytes", "Bytes in all.", disk.size)

    def _of_airflow(self) -> Iterator[Metric]:
        found = self._board.round
        if found.queue is not None:
            yield GaugeMetricFamily("mlops_queue_length", "Tasks that wait.", found.queue)
        if data := found.metadata:
            oldest = data.oldest_queued or 0
            yield GaugeMetricFamily("mlops_queue_oldest_seconds", "Age of the oldest.", oldest)
            tasks = {state: data.tasks.get(state, 0) for state in UNDER_WAY}
            yield _family("mlops_tasks", "Task instances under way.", "state", tasks)
            yield _family("mlops_canary_hop_seconds", "Last canary.", "hop", data.hops)
            broken = data.broken_files
            yield GaugeMetricFamily("mlops_dag_import_errors", "Files that do not import.", broken)
            yield GaugeMetricFamily("mlops_database_connections", "In use.", data.connections)
            yield _family("mlops_database_bytes", "Size.", "database", data.bytes)

    def _of_mlflow(self) -> Iterator[Metric]:
        if models := self._board.round.models:
            for alias, held in models.versions.items():
                yield _family(f"mlops_{alias}_metric", "Of its run.", "metric", held.metrics)
            yield _family("mlops_drift_share", "Drifted columns.", "month", models.drift)


def _family(name: str, told: str, label: str, values: Any) -> GaugeMetricFamily:
    family = GaugeMetricFamily(name, told, labels=[label])
    for key, value in values.items():
        family.add_metric([key], value)
    return family


def _age(one: Verdict) -> float:
    return (datetime.now(UTC) - one.seen).total_seconds() if one.seen else 0.0


def _work(one: Verdict) -> dict[str, Any]:
    return {"name": one.name, "state": one.state, "detail": one.detail, "at": _iso(one.seen)}


def _service(shown: Shown, checked_at: datetime | None) -> dict[str, Any]:
    return {
        "name": shown.verdict.name,
        "state": shown.verdict.state,
        "detail": shown.verdict.detail,
        "latency_ms": shown.verdict.latency_ms,
        "since": _iso(shown.since),
        # Older than the service's own start, it is a sign of the life before.
        "last_seen": _iso(shown.verdict.seen or checked_at),
    }


def _iso(moment: datetime | None) -> str | None:
    return moment.isoformat(timespec="milliseconds") if moment else None
