"""Count or remove old rows of Airflow's history: runs, tasks, DAG versions and logs.

`airflow db clean` of 3.0.1 selects runs by their start, even running ones, and DAG versions and
triggers by age alone. Their deletion cascades to current tasks. So this module deletes runs and
versions itself, and calls Airflow's code only for tables without references.
"""

import re
from collections.abc import Sequence
from datetime import datetime
from typing import Any

import psycopg2

from stack_runtime.shared.cleanup_report import Row, count

Run = tuple[str, str]
ENDED = "state IN ('success', 'failed') AND end_date < %(before)s"
OLD_RUNS = f"""
CREATE TEMPORARY TABLE old_run AS SELECT id, dag_id, run_id FROM dag_run WHERE {ENDED}
  AND id NOT IN (SELECT DISTINCT ON (dag_id) id FROM dag_run ORDER BY dag_id, id DESC)
  AND id NOT IN (SELECT DISTINCT ON (dag_id) id FROM dag_run
    WHERE run_type IN ('scheduled', 'backfill') ORDER BY dag_id, logical_date DESC NULLS LAST)
  AND NOT EXISTS (SELECT FROM task_instance AS task
    WHERE (task.dag_id, task.run_id) = (dag_run.dag_id, dag_run.run_id)
    AND task.state IN ('running', 'restarting', 'queued', 'deferred'))
"""
# Replaced by a newer version, and not used by any task or run that is kept.
SUPERSEDED = """
created_at < %(before)s
AND version_number < (SELECT max(version_number) FROM dag_version AS other
  WHERE other.dag_id = dag_version.dag_id)
AND NOT EXISTS (SELECT FROM task_instance AS task WHERE task.dag_version_id = dag_version.id
  AND (task.dag_id, task.run_id) NOT IN (SELECT dag_id, run_id FROM old_run))
AND NOT EXISTS (SELECT FROM task_instance_history AS task
  WHERE task.dag_version_id = dag_version.id
  AND (task.dag_id, task.run_id) NOT IN (SELECT dag_id, run_id FROM old_run))
AND NOT EXISTS (SELECT FROM dag_run AS run WHERE run.created_dag_version_id = dag_version.id
  AND run.id NOT IN (SELECT id FROM old_run))
"""
OF_OLD_RUNS = "(dag_id, run_id) IN (SELECT dag_id, run_id FROM old_run)"
OF_SUPERSEDED = f"dag_version_id IN (SELECT id FROM dag_version WHERE {SUPERSEDED})"
# These tables have no references to or from others, so Airflow's own clean-up is safe.
UNREFERENCED = {
    "job": "latest_heartbeat < %(before)s",
    "log": "dttm < %(before)s",
    "session": "expiry < %(before)s",
    "celery_taskmeta": "date_done < %(before)s",
    "celery_tasksetmeta": "date_done < %(before)s",
}
OLD = {
    "dag_run": OF_OLD_RUNS,
    "task_instance": OF_OLD_RUNS,
    "task_instance_history": OF_OLD_RUNS,
    "rendered_task_instance_fields": OF_OLD_RUNS,
    "xcom": OF_OLD_RUNS,
    "dag_version": SUPERSEDED,
    "serialized_dag": OF_SUPERSEDED,
    "dag_code": OF_SUPERSEDED,
    **UNREFERENCED,
}
ARCHIVE = re.compile(r"_airflow_deleted__\w+__(\d{14})")
RUNS_AT_ONCE = 200
# A table is rewritten if this share of its rows is old and it is larger than this.
REWRITE_SHARE, SMALL_BYTES = 0.25, 2**20
# Rewriting locks a table; these limits keep others from waiting longer.
SHORT_LIMITS = "SET lock_timeout = '2s'; SET statement_timeout = '10s'"
NO_LIMITS = "SET lock_timeout = 0; SET statement_timeout = 0"


class History:
    """Airflow's database; rows from before the moment `before` are old."""

    def __init__(self, uri: str, before: datetime) -> None:
        self.before = before
        self.connection = psycopg2.connect(uri.replace("+psycopg2", ""), connect_timeout=5)
        self.connection.autocommit = True
        self.ask(OLD_RUNS)
        self.gone: list[Run] = self.ask("SELECT dag_id, run_id FROM old_run")
        self.tables = [name for name in OLD if self.ask(f"SELECT to_regclass('{name}')")[0][0]]

    def ask(self, statement: str, **values: object) -> list[tuple[Any, ...]]:
        """Run a statement and return its rows; an empty list if it returns none."""
        with self.connection.cursor() as cursor:
            cursor.execute(statement, {"before": self.before, **values})
            return cursor.fetchall() if cursor.description else []

    def size(self, tables: Sequence[str]) -> int:
        """Return the bytes of tables with their indexes."""
        source = "unnest(%(names)s::text[]) AS name"
        query = f"SELECT sum(pg_total_relation_size(name::regclass)) FROM {source}"
        return int(self.ask(query, names=list(tables))[0][0] or 0)

    def living(self) -> set[Run]:
        """Return the runs that are kept."""
        return set(self.ask(f"SELECT dag_id, run_id FROM dag_run WHERE NOT {OF_OLD_RUNS}"))

    def dags(self) -> set[str]:
        """Return the ids of all present and past DAGs."""
        rows = self.ask("SELECT dag_id FROM dag UNION SELECT dag_id FROM dag_run")
        return {dag_id for (dag_id,) in rows} | {dag_id for dag_id, _ in self.gone}

    def clean(self, *, remove: bool) -> Row:
        """Count or remove old runs with their rows, unused DAG versions, and logs."""
        total = self.size(self.tables)
        shares = {table: self._share(table) for table in self.tables}
        old = sum(int(self.size([table]) * share) for table, (_, share) in shares.items())
        rows = sum(number for number, _ in shares.values())
        summary = f"{count(len(self.gone), 'run')}, {count(rows, 'row')}"
        if not (remove and rows):
            return Row("Airflow's history", total, old, summary)
        self._remove()
        for table, (_, share) in shares.items():
            self._vacuum(table, share)
        return Row("Airflow's history", total, old, summary, self.size(self.tables))

    def archives(self, *, remove: bool) -> Row:
        """Count or drop old copies of rows that `airflow db clean` created."""
        tables = self.ask("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
        archives = {name: match[1] for (name,) in tables if (match := ARCHIVE.fullmatch(name))}
        old = [name for name, moment in archives.items() if moment < f"{self.before:%Y%m%d%H%M%S}"]
        total, size = self.size(list(archives)), self.size(old)
        for name in old if remove else []:
            self.ask(f'DROP TABLE "{name}"')
        left = total - size if remove and old else None
        return Row("Airflow's archive tables", total, size, count(len(old), "table"), left)

    def _share(self, table: str) -> tuple[int, float]:
        """Return how many rows of a table are old, and their share of the table."""
        query = f"SELECT count(*) FILTER (WHERE {OLD[table]}), count(*) FROM {table}"
        old, all_ = self.ask(query)[0]
        return old, old / max(all_, 1)

    def _vacuum(self, table: str, share: float) -> None:
        """Free the space of deleted rows; rewrite a table that shrank, to return it to the disk."""
        if share >= REWRITE_SHARE and self.size([table]) > SMALL_BYTES:
            self.ask(SHORT_LIMITS)
            try:
                self.ask(f"VACUUM (FULL, ANALYZE) {table}")
                return
            except psycopg2.OperationalError as error:
                print(f"The table {table} was not rewritten: {error}")
            finally:
                self.ask(NO_LIMITS)
        self.ask(f"VACUUM (ANALYZE) {table}")

    def _remove(self) -> None:
        identities = [identity for (identity,) in self.ask("SELECT id FROM old_run")]
        # From here on, every run that still exists counts as kept.
        self.gone = []
        self.ask("TRUNCATE old_run")
        for start in range(0, len(identities), RUNS_AT_ONCE):
            # Check the state again, because a run may have been restarted meanwhile.
            delete = f"DELETE FROM dag_run WHERE id = ANY(%(some)s) AND {ENDED}"
            some = identities[start : start + RUNS_AT_ONCE]
            self.gone += self.ask(f"{delete} RETURNING dag_id, run_id", some=some)
        self.ask(f"DELETE FROM dag_version WHERE {SUPERSEDED}")
        self._remove_unreferenced()

    def _remove_unreferenced(self) -> None:
        from airflow.utils.db_cleanup import run_cleanup

        names = [name for name in UNREFERENCED if name in self.tables]
        run_cleanup(
            clean_before_timestamp=self.before, table_names=names, confirm=False, skip_archive=True
        )
        # Airflow only logs its errors, so check the result.
        for name in names:
            if self.ask(f"SELECT count(*) FROM {name} WHERE {OLD[name]}")[0][0]:
                raise RuntimeError(f"Airflow's own clean-up left old rows in the table {name}")
