"""Query Airflow's metadata database with a read-only account.

Each round runs one query over one persistent connection. Ages are measured by the database's clock.
"""

import json
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg

from status.verdict import LIMIT_SECONDS, Inconclusive, UnexpectedAnswer, Verdict, judge, reason

# A DAG with one of these tags and the tag problem:NAME is that pipeline of the problem.
ROLES = ("training", "monitoring")
CANARY = "canary"
CONNECTIONS_LIMIT = 0.9
HEARTBEAT_LIMIT_SECONDS = 60
# Airflow's own limit for the DAG processor, 10.5 s, causes false alarms if parsing is slow.
JOBS = {
    "airflow-scheduler": "SchedulerJob",
    "airflow-dag-processor": "DagProcessorJob",
    "airflow-triggerer": "TriggererJob",
}
UNFINISHED_STATES = (
    "scheduled", "queued", "running", "deferred", "up_for_retry", "up_for_reschedule", "restarting",
)  # fmt: skip
ACCESS_ERRORS = (
    asyncpg.InvalidAuthorizationSpecificationError, asyncpg.InsufficientPrivilegeError,
    asyncpg.InvalidCatalogNameError,
)  # fmt: skip
# This account must not read the results of other tasks, hence the function status_canary_hops.
QUERY = """
SELECT json_build_object(
  'heartbeats', (SELECT json_object_agg(job_type, age) FROM (
      SELECT job_type, extract(epoch FROM now() - max(latest_heartbeat)) AS age
      FROM job WHERE state = 'running' GROUP BY job_type) AS jobs),
  'tasks', (SELECT json_object_agg(state, number) FROM (
      SELECT state, count(*) AS number FROM task_instance WHERE state = ANY($1)
      GROUP BY state) AS tasks),
  'oldest_queued', (SELECT extract(epoch FROM now() - min(queued_dttm))
      FROM task_instance WHERE state = 'queued'),
  'groups', (SELECT json_agg(kind) FROM (
      SELECT state, queue, pool, count(*) AS number,
        coalesce(extract(epoch FROM now() - min(since)), 0) AS seconds,
        (array_agg(dag_id ORDER BY since))[1] AS dag_id
      FROM (SELECT state, coalesce(queue, '') AS queue, pool, dag_id,
          CASE WHEN state = 'scheduled' THEN scheduled_dttm WHEN state = 'queued' THEN queued_dttm
          WHEN queued_by_job_id IS NOT NULL THEN last_heartbeat_at END AS since
        FROM task_instance WHERE state IN ('scheduled', 'queued', 'running', 'restarting')) AS task
      GROUP BY state, queue, pool) AS kind),
  'full_pools', (SELECT json_agg(pool) FROM (
      SELECT slot_pool.pool FROM slot_pool LEFT JOIN task_instance AS task
        ON task.pool = slot_pool.pool AND task.state IN ('queued', 'running', 'deferred')
        AND (task.state <> 'deferred' OR include_deferred)
      GROUP BY slot_pool.pool, slots
      HAVING slots >= 0 AND coalesce(sum(pool_slots), 0) >= slots) AS full_pool),
  'stale_files', (SELECT json_agg(file) FROM (
      SELECT relative_fileloc AS name, max(last_parsed_time) AS parsed FROM dag
      WHERE bundle_name = 'dags-folder' GROUP BY relative_fileloc
      HAVING bool_and(is_stale) AND NOT EXISTS (SELECT FROM import_error
        WHERE right(filename, length(relative_fileloc) + 1) = '/' || relative_fileloc)
      ORDER BY parsed DESC NULLS LAST LIMIT 50) AS file),
  'idle_triggers', (SELECT count(*) FROM trigger WHERE created_date < now() - interval '30 seconds'
      AND NOT EXISTS (SELECT FROM job WHERE job.id = triggerer_id AND job.state = 'running'
        AND latest_heartbeat > now() - interval '30 seconds')),
  'runs', (SELECT json_agg(run) FROM (
      SELECT DISTINCT ON (dag_id) dag_id, run_id, state,
        extract(epoch FROM now() - coalesce(start_date, queued_at)) AS started,
        extract(epoch FROM now() - end_date) AS ended
      FROM dag_run WHERE dag_id = 'canary' OR dag_id IN (
        SELECT dag_id FROM dag_tag WHERE name LIKE 'problem:%')
      ORDER BY dag_id, id DESC) AS run),
  'pipelines', (SELECT json_agg(pipeline) FROM (
      SELECT dag_id, min(name) FILTER (WHERE name = ANY($2)) AS role,
        min(substr(name, 9)) FILTER (WHERE name LIKE 'problem:%') AS problem
      FROM dag_tag JOIN dag USING (dag_id) WHERE NOT is_stale GROUP BY dag_id
      HAVING bool_or(name = ANY($2)) AND bool_or(name LIKE 'problem:%')) AS pipeline),
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
    """The newest run of a DAG; `started` and `ended` are seconds ago, None before they happen."""

    run_id: str
    state: str
    started: float | None
    ended: float | None


@dataclass(frozen=True)
class Group:
    """Tasks of one state (scheduled, queued, running or restarting), queue and pool.

    `seconds` is for how long one of them has waited, or has sent no heartbeat if it runs. `dag_id`
    is the DAG of this task.
    """

    state: str
    queue: str
    pool: str
    number: int
    seconds: float
    dag_id: str


@dataclass(frozen=True)
class Metadata:
    """The result of one query. Ages are in seconds; missing data is empty."""

    heartbeats: Mapping[str, float] = field(default_factory=dict)
    tasks: Mapping[str, int] = field(default_factory=dict)
    oldest_queued: float | None = None
    groups: tuple[Group, ...] = ()
    # How many tasks run at a time; 0 if workers decide.
    slots: int = 0
    # Pools without a free slot.
    full_pools: Sequence[str] = ()
    # At most 50 files of dags/ whose DAGs all count as removed, although Airflow knows no import
    # error: `name` and `parsed`, which is when a DAG was last found in it.
    stale_files: Sequence[Mapping[str, str]] = ()
    # Triggers that wait, or whose triggerer makes no progress, because its heartbeat then stops.
    idle_triggers: int = 0
    runs: Mapping[str, Run] = field(default_factory=dict)
    hops: Mapping[str, float] = field(default_factory=dict)
    # File and last line of its error, newest first, at most 20; `broken_files` counts all of them.
    broken: tuple[tuple[str, str], ...] = ()
    broken_files: int = 0
    dags: int = 0
    # The DAG of each role, by problem.
    problems: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    connections: int = 0
    max_connections: int = 0
    bytes: Mapping[str, int] = field(default_factory=dict)
    # Reason by name, as the init jobs stored them in comments on the databases.
    inactive_patches: Mapping[str, str] = field(default_factory=dict)


async def connect(url: str) -> asyncpg.Connection:
    """Open a connection; raises what asyncpg raises, and UnexpectedAnswer for an invalid URL."""
    settings = {"application_name": "status"}
    try:
        return await asyncpg.connect(url, timeout=LIMIT_SECONDS, server_settings=settings)
    except ValueError:
        # The library may quote the URL with its password.
        raise UnexpectedAnswer("DATABASE_URL is not a valid address") from None


class Database:
    """The metadata database at `url`, over one connection that is reopened after a failure."""

    def __init__(self, url: str, connect: Callable[[str], Awaitable[Any]] = connect) -> None:
        self._url, self._connect = url, connect
        self._connection: Any = None

    async def check(self) -> tuple[list[Verdict], Metadata | None]:
        """Check postgres and the three services whose heartbeats it contains; never raises."""
        results: list[Metadata] = []

        async def ask() -> tuple[str, str]:
            try:
                results.append(await self._fetch())
            except asyncpg.CannotConnectNowError as error:
                # It starts, recovers from a crash or stops, which a restart would only prolong.
                return "degraded", reason(error)
            return _database(results[0])

        database = await judge("postgres", ask())
        if results:
            return [database, *(_heartbeat(name, results[0]) for name in JOBS)], results[0]
        self.close()
        why = f"no data from PostgreSQL: {database.detail}"
        return [database, *(Verdict(name, "unknown", why) for name in JOBS)], None

    def close(self) -> None:
        """Close the connection without waiting for the server."""
        if self._connection:
            self._connection.terminate()
        self._connection = None

    async def _fetch(self) -> Metadata:
        try:
            if self._connection is None or self._connection.is_closed():
                self._connection = await self._connect(self._url)
            states = list(UNFINISHED_STATES)
            return parse(await self._connection.fetchval(QUERY, states, list(ROLES)))
        except (asyncpg.UndefinedTableError, asyncpg.UndefinedFunctionError):
            raise Inconclusive("Airflow's tables do not exist yet") from None
        except ACCESS_ERRORS as error:
            raise Inconclusive(f"access denied: {error!s:.100}") from None


def parse(text: str) -> Metadata:
    """Parse the result of QUERY; raises UnexpectedAnswer for anything else."""
    try:
        fields = {name: value for name, value in json.loads(text).items() if value is not None}
        runs = {run.pop("dag_id"): Run(**run) for run in fields.pop("runs", [])}
        fields["groups"] = tuple(Group(**group) for group in fields.pop("groups", []))
        broken = fields.pop("broken", [])
        fields["broken"] = tuple((one["filename"], _last_line(one["reason"])) for one in broken)
        hops = _numbers(fields.pop("hops", {}))
        fields["problems"] = _problems(fields.pop("pipelines", []))
        inactive = _inactive_patches(fields.pop("markers", []))
        return Metadata(**fields, runs=runs, hops=hops, inactive_patches=inactive)
    except (TypeError, ValueError, AttributeError, KeyError):
        raise UnexpectedAnswer("unexpected answer to the query of Airflow's tables") from None


def _problems(pipelines: Iterable[Mapping[str, str]]) -> dict[str, dict[str, str]]:
    """Return the DAG of each role, by problem."""
    problems: dict[str, dict[str, str]] = {}
    for one in pipelines:
        problems.setdefault(one["problem"], {})[one["role"]] = one["dag_id"]
    return dict(sorted(problems.items()))


def _numbers(hops: object) -> dict[str, float]:
    # Airflow stores a task's result as JSON, some versions as a JSON string that contains JSON.
    hops = json.loads(hops) if isinstance(hops, str) else hops
    items = hops.items() if isinstance(hops, dict) else ()
    return {str(name): float(value) for name, value in items if isinstance(value, int | float)}


def _inactive_patches(markers: Iterable[str | None]) -> dict[str, str]:
    """Return the patches that the init jobs' markers list; older markers list none."""
    inactive: dict[str, str] = {}
    for marker in markers:
        with suppress(ValueError, TypeError, KeyError):
            inactive |= json.loads(marker or "")["inactive_patches"]
    return inactive


def _last_line(text: str | None) -> str:
    return (text or "no reason given").strip().rpartition("\n")[2]


def _database(data: Metadata) -> tuple[str, str]:
    sizes = ", ".join(f"{name} {size / 2**20:.0f} MiB" for name, size in sorted(data.bytes.items()))
    summary = f"{data.connections} of {data.max_connections} connections; {sizes}"
    if data.connections >= CONNECTIONS_LIMIT * data.max_connections:
        return "degraded", f"nearly out of connections: {summary}"
    return "up", summary


def _heartbeat(name: str, data: Metadata) -> Verdict:
    age = data.heartbeats.get(JOBS[name])
    if age is None:
        return Verdict(name, "unknown", "no running process has a heartbeat")
    if age < -HEARTBEAT_LIMIT_SECONDS:
        return Verdict(name, "unknown", f"heartbeat {-age:.0f} s in the future; the clocks differ")
    state = "up" if age <= HEARTBEAT_LIMIT_SECONDS else "down"
    beat = Verdict(name, state, f"last heartbeat {max(age, 0):.0f} s ago")
    return replace(beat, seen=datetime.now(UTC) - timedelta(seconds=age))
