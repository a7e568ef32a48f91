"""One question per service of the stack, under the names of the compose file, and per work.

A verdict is "up" only on proof. Where the one that would tell is out of reach, whatever depends
on it is "unknown" with the reason.
"""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

import httpx

from status import host, work
from status.broker import airflow_worker, redis
from status.metadata import JOBS, Database, Metadata
from status.models import MLflow, Models
from status.settings import Settings
from status.verdict import UnexpectedAnswer, Verdict, json_object, judge

# What changes with a run, or hardly ever, is not asked for with every round.
RARELY_SECONDS = 60
MLFLOW_SECONDS = 10
UNREADABLE = (
    UnexpectedAnswer, httpx.HTTPError, TimeoutError, KeyError, TypeError, AttributeError,
)  # fmt: skip


@dataclass(frozen=True)
class Round:
    """What one round found: verdicts for people, the figures behind them where they are known."""

    services: list[Verdict]
    work: list[Verdict]
    metadata: Metadata | None = None
    models: Models | None = None
    queue: int | None = None
    disk: host.Disk | None = None


def service_names(redis_url: str) -> list[str]:
    """Name the services judged, in the page's order; without Redis there is no worker either."""
    broker = ["redis", "airflow-worker"] if redis_url else []
    return ["airflow-apiserver", *JOBS, *broker, "postgres", "mlflow"]


def work_names() -> list[str]:
    """Name what else is judged, in the page's order."""
    return [*work.names(), "backup", "disk"]


class Probes:
    """Everything there is to ask; what is dear to ask is asked once a minute or after a run."""

    def __init__(
        self,
        http: httpx.AsyncClient,
        settings: Settings,
        database: Database,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._http, self._settings, self._database, self._clock = http, settings, database, clock
        self._mlflow = MLflow(http, settings.mlflow_url, settings.mlflow_password)
        self._artifacts = ("unknown", "artifact store not asked yet")
        self._models: Models | None = None
        self._asked_at = -float("inf")
        self._asked_after: list[tuple[str, str]] | None = None

    async def round(self) -> Round:
        """Ask all services at once; never raises."""
        url = self._settings.redis_url
        apiserver, (beats, metadata), mlflow, (queue, broker) = await asyncio.gather(
            airflow_apiserver(self._http, self._settings.airflow_url),
            self._database.look(),
            self._mlflow.service(),
            _broker(url),
        )
        mlflow = await self._with_artifacts(mlflow, metadata)
        services = {one.name: one for one in (apiserver, *beats, *broker, mlflow)}
        if metadata and metadata.oldest_queued:
            # What runs the tasks tells how long the first of those that wait has waited.
            runner = services["airflow-worker" if url else "airflow-scheduler"]
            told = f"{runner.detail}; the oldest waits for {work.elapsed(metadata.oldest_queued)}"
            services[runner.name] = replace(runner, detail=told)
        disk, space = host.disk(self._settings.disk)
        others = [host.backup(self._settings.backup_report), disk]
        return Round(
            [services[name] for name in service_names(url)],
            [*work.judged(metadata, self._models), *others],
            metadata,
            self._models,
            queue if url or metadata is None else metadata.tasks.get("queued", 0),
            space,
        )

    async def _with_artifacts(self, mlflow: Verdict, metadata: Metadata | None) -> Verdict:
        """What MLflow is with its artifact store, which is asked for rarely, as the models are."""
        if mlflow.state != "up":
            self._models, self._asked_at = None, -float("inf")
            return mlflow
        # A run that has ended since may have made a champion, or looked at a month.
        runs = metadata.runs.values() if metadata else ()
        after = [(run.run_id, run.state) for run in runs]
        if self._clock() - self._asked_at >= RARELY_SECONDS or after != self._asked_after:
            self._asked_at, self._asked_after = self._clock(), after
            self._artifacts, self._models = await asyncio.gather(
                self._mlflow.artifacts(), self._look_at_models()
            )
        state, told = self._artifacts
        if state == "up":
            return replace(mlflow, detail=f"{mlflow.detail} and its artifact store")
        return replace(mlflow, state="degraded", detail=f"{mlflow.detail}; artifact store: {told}")

    async def _look_at_models(self) -> Models | None:
        try:
            async with asyncio.timeout(MLFLOW_SECONDS):
                return await self._mlflow.look()
        except UNREADABLE:
            return None


async def airflow_apiserver(http: httpx.AsyncClient, url: str) -> Verdict:
    """Ask the API server whether it reads its database; it says HTTP 200 also when it does not."""

    async def ask() -> tuple[str, str]:
        body = json_object(await http.get(f"{url}/api/v2/monitor/health"))
        part = body.get("metadatabase")
        status = part.get("status") if isinstance(part, dict) else None
        if status == "healthy":
            return "up", "answers and reads its metadatabase"
        if status == "unhealthy":
            return "down", "answers, but cannot read its metadatabase"
        return "unknown", "answers, but does not say whether it reads its metadatabase"

    return await judge("airflow-apiserver", ask())


async def _broker(url: str) -> tuple[int | None, list[Verdict]]:
    if not url:
        return None, []
    queue, (worker, waiting) = await asyncio.gather(redis(url), airflow_worker(url))
    return waiting, [queue, worker]
