"""Probe all services, by their names in the compose file, and evaluate the results of the work.

A service is "up" only if its probe succeeded. If the source of an answer cannot be reached,
everything that depends on it is "unknown", with the reason.
"""

import asyncio
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import httpx

from status import host, work
from status.broker import Broker, airflow_worker, redis
from status.metadata import CANARY, JOBS, Database, Metadata
from status.models import MLflow, Models
from status.settings import Settings
from status.verdict import UnexpectedAnswer, Verdict, json_object, judge

# Models and the artifact store rarely change, so they are not queried in every round.
REFRESH_SECONDS = 60
MODELS_LIMIT_SECONDS = 10
MODELS_ERRORS = (
    UnexpectedAnswer, httpx.HTTPError, TimeoutError, KeyError, TypeError, AttributeError,
)  # fmt: skip


@dataclass(frozen=True)
class Round:
    """The results of one round: verdicts, and the figures behind them, None if unknown."""

    services: list[Verdict]
    work: list[Verdict]
    metadata: Metadata | None = None
    models: Mapping[str, Models] | None = None
    queue: int | None = None
    disk: host.Disk | None = None


def service_names(redis_url: str) -> list[str]:
    """Return the probed services in the page's order; without Redis there is no worker either."""
    broker = ["redis", "airflow-worker"] if redis_url else []
    return ["airflow-apiserver", *JOBS, *broker, "postgres", "mlflow"]


def work_names() -> list[str]:
    """Return the names of the results that are always shown, in the page's order."""
    return [CANARY, "dag-files", "backup", "disk"]


class Probes:
    """All probes; the expensive ones run once a minute and after each run of a DAG."""

    def __init__(
        self,
        http: httpx.AsyncClient,
        settings: Settings,
        database: Database,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._http, self._settings, self._database, self._clock = http, settings, database, clock
        self._mlflow = MLflow(http, settings.mlflow_url, settings.mlflow_password)
        self._artifacts = ("unknown", "not checked yet")
        self._unserved: frozenset[str] = frozenset()
        self._models: Mapping[str, Models] | None = None
        self._refreshed_at = -float("inf")
        self._refreshed_runs: list[tuple[str, str]] | None = None

    async def round(self) -> Round:
        """Probe all services concurrently; never raises."""
        url = self._settings.redis_url
        apiserver, (beats, metadata), mlflow, (broker, workers) = await asyncio.gather(
            airflow_apiserver(self._http, self._settings.airflow_url),
            self._database.check(),
            self._mlflow.service(),
            _broker(url),
        )
        mlflow = await self._with_artifacts(mlflow, metadata)
        metadata = metadata and replace(metadata, slots=self._settings.slots)
        services = {one.name: one for one in (apiserver, *beats, *workers, mlflow)}
        if metadata and broker:
            self._unserved = work.unserved(metadata, broker, self._unserved)
            broker = replace(broker, unserved=self._unserved)
        if metadata:
            runner = "airflow-worker" if url else "airflow-scheduler"
            services[runner] = _with_queue(services[runner], metadata, broker)
        disk, space = host.disk(self._settings.disk)
        others = [host.backup(self._settings.backup_report), disk]
        return Round(
            [services[name] for name in service_names(url)],
            [*work.verdicts(metadata, self._models, broker), *others],
            metadata,
            self._models,
            _queue_length(url, metadata, broker),
            space,
        )

    async def _with_artifacts(self, mlflow: Verdict, metadata: Metadata | None) -> Verdict:
        """Add the state of the artifact store to MLflow's; refresh it and the models if due."""
        if mlflow.state != "up":
            self._models, self._refreshed_at = None, -float("inf")
            return mlflow
        # A run that has ended since may have changed the champion or added a month.
        runs = metadata.runs.values() if metadata else ()
        states = [(run.run_id, run.state) for run in runs]
        if states != self._refreshed_runs or self._clock() - self._refreshed_at >= REFRESH_SECONDS:
            self._refreshed_at, self._refreshed_runs = self._clock(), states
            self._artifacts, self._models = await asyncio.gather(
                self._mlflow.artifacts(), self._query_models()
            )
        state, store = self._artifacts
        if state == "up":
            return replace(mlflow, detail=f"{mlflow.detail} and its artifact store")
        return replace(mlflow, state="degraded", detail=f"{mlflow.detail}; artifact store: {store}")

    async def _query_models(self) -> Mapping[str, Models] | None:
        try:
            async with asyncio.timeout(MODELS_LIMIT_SECONDS):
                return await self._mlflow.models()
        except MODELS_ERRORS:
            return None


async def airflow_apiserver(http: httpx.AsyncClient, url: str) -> Verdict:
    """Check that the API server reads its database; its health page always returns HTTP 200."""

    async def ask() -> tuple[str, str]:
        body = json_object(await http.get(f"{url}/api/v2/monitor/health"))
        part = body.get("metadatabase")
        status = part.get("status") if isinstance(part, dict) else None
        if status == "healthy":
            return "up", "answers and reads its metadatabase"
        if status == "unhealthy":
            return "down", "answers, but cannot read its metadatabase"
        return "unknown", "answers, but does not report the state of its metadatabase"

    return await judge("airflow-apiserver", ask())


def _with_queue(runner: Verdict, metadata: Metadata, broker: Broker | None) -> Verdict:
    """Add to the service that runs the tasks which messages are left, and the age of the queue."""
    detail = runner.detail
    if broker and (left := work.left_messages(metadata, broker)):
        detail = f"{detail}, {left} of them without a running task"
    if metadata.oldest_queued:
        detail = f"{detail}; oldest waiting {work.elapsed(metadata.oldest_queued)}"
    return replace(runner, detail=detail)


def _queue_length(url: str, metadata: Metadata | None, broker: Broker | None) -> int | None:
    if url:
        return broker.waiting if broker else None
    return metadata.tasks.get("queued", 0) if metadata else None


async def _broker(url: str) -> tuple[Broker | None, list[Verdict]]:
    if not url:
        return None, []
    queue, (worker, broker) = await asyncio.gather(redis(url), airflow_worker(url))
    return broker, [queue, worker]
