"""What Airflow's metadata database says, asked directly by an account that may only read.

One question a round, over one connection that is kept. Ages are told by the database's own clock.
"""

import json
from collections.abc import Awaitable, Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg

from status.verdict import LIMIT_SECONDS, UnexpectedAnswer, Untold, Verdict, judge

PIPELINES = {"training": "training_pipeline", "monitoring": "monitoring_pipeline"}
CANARY = "canary"
CONNECTIONS_LIMIT = 0.9
HEARTBEAT_LIMIT_SECONDS = 60
# Airflow's own limit for the dag-processor is 10.5 s and cries wolf whenever a parse is slow.
JOBS = {
    "airflow-scheduler": "SchedulerJob",
    "airflow-dag-processor": "DagProcessorJob",
    "airflow-triggerer": "TriggererJob",
}
UNDER_WAY = (
    "scheduled", "queued", "running", "deferred", "up_for_retry", "up_for_reschedule", "restarting",
)  # fmt: skip
NOT_ALLOWED = (
    asyncpg.InvalidAuthorizationSpecificationError, asyncpg.InsufficientPrivilegeError,
    asyncpg.InvalidCatalogNameError,
)  # fmt: skip
# status_canary_hops is made for this account: it may read no other task's results.
QUESTION = """
SELECT json_build_object(
  'heartbeats', (SELECT json_object_agg(job_type, age) FROM (
      SELECT job_type, extract(epoch FROM now() - max(latest_heartbeat)) AS age
      FROM job WHERE state = 'running' GROUP BY job_type) AS jobs),
  'tasks', (SELECT json_object_agg(state, number) FROM (
      SELECT state, count(*) AS number FROM task_instance WHERE state = ANY($1)
      GROUP BY state) AS tasks),
  'oldest_queued', (SELECT extract(epoch FROM now() - min(queued_dttm))
      FROM task_instance WHERE state = 'queued'),
  'runs', (SELECT json_agg(run) FROM (
      SELECT DISTINCT ON (dag_id) dag_id, run_id, state,
        extract(epoch FROM now() - coalesce(start_date, queued_at)) AS begun,
        extract(epoch FROM now() - end_date) AS ended
      FROM dag_run WHERE dag_id = ANY($2) ORDER BY dag_id, id DESC) AS run),
  'hops', (SELECT status_canary_hops()),
  'broken', (SELECT json_agg(error) FROM (
      SELECT filename, right(rtrim(stacktrace), 400) AS reason FROM import_error
      ORDER BY timestamp DESC LIMIT 20) AS error),
  'broken_files', (SELECT count(*) FROM import_error),
  'dags', (SELECT count(*) FROM dag WHERE NOT is_stale),
  'connections', (SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend'),
  'max_connections', current_setting('max_connections')::integer,
  'bytes', (SELECT json_object_agg(datname, pg_database_size(oid)) FROM pg_database
      WHERE datname IN ('airflow', 'mlflow')),
  'markers', (SELECT json_agg(shobj_description(oid, 'pg_database')) FROM pg_database
      WHERE datname IN ('airflow', 'mlflow')))
"""


@dataclass(frozen=True)
class Run:
    """The newest run of a DAG; `begun` and `ended` are seconds ago, None where not yet."""

    run_id: str
    state: str
    begun: float | None
    ended: float | None


@dataclass(frozen=True)
class Metadata:
    """One look at the database. Ages are seconds; what is empty was not there."""

    heartbeats: Mapping[str, float] = field(default_factory=dict)
    tasks: Mapping[str, int] = field(default_factory=dict)
    oldest_queued: float | None = None
    runs: Mapping[str, Run] = field(default_factory=dict)
    hops: Mapping[str, float] = field(default_factory=dict)
    # File and last line of its error, the newest first; `broken_files` counts all of them.
    broken: tuple[tuple[str, str], ...] = ()
    broken_files: int = 0
    dags: int = 0
    connections: int = 0
    max_connections: int = 0
    bytes: Mapping[str, int] = field(default_factory=dict)
    # Name and reason, as the init jobs noted them at their databases.
    inactive_patches: Mapping[str, str] = field(default_factory=dict)


async def connect(url: str) -> asyncpg.Connection:
    """Open a connection; raises what asyncpg raises."""
    told = {"application_name": "status"}
    try:
        return await asyncpg.connect(url, timeout=LIMIT_SECONDS, server_settings=told)
    except ValueError:
        # The library may quote the address with its password.
        raise UnexpectedAnswer("DATABASE_URL is not a valid address") from None


class Database:
    """The metadata database at `url`, over one connection that is opened anew once it fails."""

    def __init__(self, url: str, connect: Callable[[str], Awaitable[Any]] = connect) -> None:
        self._url, self._connect = url, connect
        self._connection: Any = None

    async def look(self) -> tuple[list[Verdict], Metadata | None]:
        """Judge postgres and the three services whose heartbeats it holds; never raises."""
        found: list[Metadata] = []

        async def ask() -> tuple[str, str]:
            found.append(await self._ask())
            return _database(found[0])

        database = await judge("postgres", ask())
        if found:
            return [database, *(_heartbeat(name, found[0]) for name in JOBS)], found[0]
        self.close()
        why = f"PostgreSQL cannot tell: {database.detail}"
        return [database, *(Verdict(name, "unknown", why) for name in JOBS)], None

    def close(self) -> None:
        """Give up the connection."""
        if self._connection:
            self._connection.terminate()
        self._connection = None

    async def _ask(self) -> Metadata:
        asked = [*PIPELINES.values(), CANARY]
        try:
            if self._connection is None or self._connection.is_closed():
                self._connection = await self._connect(self._url)
            return read(await self._connection.fetchval(QUESTION, list(UNDER_WAY), asked))
        except (asyncpg.UndefinedTableError, asyncpg.UndefinedFunctionError):
            raise Untold("Airflow's schema is not there yet") from None
        except NOT_ALLOWED as error:
            raise Untold(f"it refuses this page's account: {error!s:.100}") from None


def read(text: str) -> Metadata:
    """Read the answer to QUESTION; raises UnexpectedAnswer for any other."""
    try:
        said = {name: value for name, value in json.loads(text).items() if value is not None}
        runs = {run.pop("dag_id"): Run(**run) for run in said.pop("runs", [])}
        broken = said.pop("broken", [])
        said["broken"] = tuple((one["filename"], _last_line(one["reason"])) for one in broken)
        hops = _numbers(said.pop("hops", {}))
        inactive = _inactive_patches(said.pop("markers", []))
        return Metadata(**said, runs=runs, hops=hops, inactive_patches=inactive)
    except (TypeError, ValueError, AttributeError, KeyError):
        raise UnexpectedAnswer("the answer is not that of Airflow's metadata database") from None


def _numbers(hops: object) -> dict[str, float]:
    # Airflow keeps a task's result as JSON, some versions as a JSON text of it.
    hops = json.loads(hops) if isinstance(hops, str) else hops
    items = hops.items() if isinstance(hops, dict) else ()
    return {str(name): float(value) for name, value in items if isinstance(value, int | float)}


def _inactive_patches(markers: Iterable[str | None]) -> dict[str, str]:
    """Return what the markers of the init jobs list; nothing for one of an earlier version."""
    inactive: dict[str, str] = {}
    for marker in markers:
        with suppress(ValueError, TypeError, KeyError):
            inactive |= json.loads(marker or "")["inactive_patches"]
    return inactive


def _last_line(text: str | None) -> str:
    return (text or "no reason is given").strip().rpartition("\n")[2]


def _database(found: Metadata) -> tuple[str, str]:
    sizes = ", ".join(
        f"{name} {size / 2**20:.0f} MiB" for name, size in sorted(found.bytes.items())
    )
    told = f"{found.connections} of {found.max_connections} connections; {sizes}"
    if found.connections >= CONNECTIONS_LIMIT * found.max_connections:
        return "degraded", f"nearly out of connections: {told}"
    return "up", told


def _heartbeat(name: str, found: Metadata) -> Verdict:
    age = found.heartbeats.get(JOBS[name])
    if age is None:
        return Verdict(name, "unknown", "none is running")
    if age < -HEARTBEAT_LIMIT_SECONDS:
        return Verdict(name, "unknown", f"heartbeat lies {-age:.0f} s ahead: the clocks differ")
    state = "up" if age <= HEARTBEAT_LIMIT_SECONDS else "down"
    beat = Verdict(name, state, f"last heartbeat {max(age, 0):.0f} s ago")
    return replace(beat, seen=datetime.now(UTC) - timedelta(seconds=age))
