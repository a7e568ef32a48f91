"""Airflow's history: runs, tasks, versions of DAGs and logs that are old, counted or removed.

`airflow db clean` of 3.0.1 takes a run by its start, also one that runs, and versions of DAGs and
triggers by their age alone: by cascade they take the tasks of today with them. So runs and versions
are removed here, and Airflow's own code is asked for the tables that stand alone.
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
# Replaced by a newer one, and no task or run that stays was made from it.
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
# Their rows refer to no other and no other to them: Airflow's own clean-up suits them.
STAND_ALONE = {
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
    **STAND_ALONE,
}
ARCHIVE = re.compile(r"_airflow_deleted__\w+__(\d{14})")
RUNS_AT_ONCE = 200
# Of a table's rows, and its bytes.
WORTH_REWRITING, SMALL_BYTES = 0.25, 2**20
# How long others may have to wait for a table that is written anew.
AT_MOST = "SET lock_timeout = '2s'; SET statement_timeout = '10s'"
AS_LONG_AS_IT_TAKES = "SET lock_timeout = 0; SET statement_timeout = 0"


class History:
    """Airflow's database; `before` is the moment before which things are old."""

    def __init__(self, uri: str, before: datetime) -> None:
        self.before = before
        self.connection = psycopg2.connect(uri.replace("+psycopg2", ""), connect_timeout=5)
        self.connection.autocommit = True
        self.ask(OLD_RUNS)
        self.gone: list[Run] = self.ask("SELECT dag_id, run_id FROM old_run")
        self.tables = [name for name in OLD if self.ask(f"SELECT to_regclass('{name}')")[0][0]]

    def ask(self, statement: str, **values: object) -> list[tuple[Any, ...]]:
        """The rows of an answer, none for what has none."""
        with self.connection.cursor() as cursor:
            cursor.execute(statement, {"before": self.before, **values})
            return cursor.fetchall() if cursor.description else []

    def size(self, tables: Sequence[str]) -> int:
        """Bytes of tables with their indexes."""
        named = "unnest(%(names)s::text[]) AS name"
        sizes = f"SELECT sum(pg_total_relation_size(name::regclass)) FROM {named}"
        return int(self.ask(sizes, names=list(tables))[0][0] or 0)

    def living(self) -> set[Run]:
        """The runs that stay."""
        return set(self.ask(f"SELECT dag_id, run_id FROM dag_run WHERE NOT {OF_OLD_RUNS}"))

    def dags(self) -> set[str]:
        """The names of all DAGs there are or were."""
        found = self.ask("SELECT dag_id FROM dag UNION SELECT dag_id FROM dag_run")
        return {dag_id for (dag_id,) in found} | {dag_id for dag_id, _ in self.gone}

    def clean(self, *, remove: bool) -> Row:
        """Runs with all that is theirs, versions of DAGs that nothing was made from, and logs."""
        holds = self.size(self.tables)
        shares = {table: self._share(table) for table in self.tables}
        old = sum(int(self.size([table]) * share) for table, (_, share) in shares.items())
        rows = sum(number for number, _ in shares.values())
        told = f"{count(len(self.gone), 'run')}, {count(rows, 'row')}"
        if not (remove and rows):
            return Row("Airflow's history", holds, old, told)
        self._remove()
        for table, (_, share) in shares.items():
            self._give_back(table, share)
        return Row("Airflow's history", holds, old, told, self.size(self.tables))

    def archives(self, *, remove: bool) -> Row:
        """Copies of rows that an earlier `airflow db clean` left, made before the moment."""
        named = self.ask("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
        made = {name: found[1] for (name,) in named if (found := ARCHIVE.fullmatch(name))}
        old = [name for name, moment in made.items() if moment < f"{self.before:%Y%m%d%H%M%S}"]
        holds, size = self.size(list(made)), self.size(old)
        for name in old if remove else []:
            self.ask(f'DROP TABLE "{name}"')
        left = holds - size if remove and old else None
        return Row("Airflow's archive tables", holds, size, count(len(old), "table"), left)

    def _share(self, table: str) -> tuple[int, float]:
        """How many rows of a table are old, and which part of it that is."""
        among = f"SELECT count(*) FILTER (WHERE {OLD[table]}), count(*) FROM {table}"
        old, all_ = self.ask(among)[0]
        return old, old / max(all_, 1)

    def _give_back(self, table: str, share: float) -> None:
        """Room of deleted rows is used again; of a table that shrank it goes back to the disk."""
        if share >= WORTH_REWRITING and self.size([table]) > SMALL_BYTES:
            self.ask(AT_MOST)
            try:
                self.ask(f"VACUUM (FULL, ANALYZE) {table}")
                return
            except psycopg2.OperationalError as error:
                print(f"{table} is not written anew: {error}")
            finally:
                self.ask(AS_LONG_AS_IT_TAKES)
        self.ask(f"VACUUM (ANALYZE) {table}")

    def _remove(self) -> None:
        identities = [identity for (identity,) in self.ask("SELECT id FROM old_run")]
        # From here on every run that is still there stays.
        self.gone = []
        self.ask("TRUNCATE old_run")
        for start in range(0, len(identities), RUNS_AT_ONCE):
            # Asked again: somebody may have started one anew meanwhile.
            delete = f"DELETE FROM dag_run WHERE id = ANY(%(some)s) AND {ENDED}"
            some = identities[start : start + RUNS_AT_ONCE]
            self.gone += self.ask(f"{delete} RETURNING dag_id, run_id", some=some)
        self.ask(f"DELETE FROM dag_version WHERE {SUPERSEDED}")
        self._remove_what_stands_alone()

    def _remove_what_stands_alone(self) -> None:
        from airflow.utils.db_cleanup import run_cleanup

        names = [name for name in STAND_ALONE if name in self.tables]
        run_cleanup(
            clean_before_timestamp=self.before, table_names=names, confirm=False, skip_archive=True
        )
        # It logs what fails and goes on.
        for name in names:
            if self.ask(f"SELECT count(*) FROM {name} WHERE {OLD[name]}")[0][0]:
                raise RuntimeError(f"Airflow's own clean-up left old rows in the table {name}")
