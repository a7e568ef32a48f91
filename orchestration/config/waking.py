"""The scheduler is woken where it has something to do, instead of looking again all the time.

3.0.1 looks once a second whether there is work: a task that ended, or a run that was asked for,
waits half of that on average, and ten such tasks in a row five seconds. Looking more often costs a
processor what nobody asked for. Here triggers in the database tell of work the moment it is
committed (`NOTIFY`), and the scheduler's pause ends with that. What comes with time alone, a
schedule or a delay before a retry, is found by looking, as before.
"""

import os
import select
import time
from types import ModuleType, SimpleNamespace
from typing import Any

import wrapt

SCHEDULER = "airflow.jobs.scheduler_job_runner"
CHANNEL = "scheduler"
# Not again at once where PostgreSQL is away: the scheduler finds that out itself.
RECONNECT_SECONDS = 5.0
# Woken all the time, the scheduler would take from tasks what they run on: it rests as long as it
# worked, at least.
REST = 1

# By table, when there is work: a run that begins or changes, a task that has ended or is to be
# tried again, the result by which an executor knows that a worker has a place again.
WORK = {
    "dag_run": "INSERT OR UPDATE",
    "task_instance": "UPDATE",
    "asset_dag_run_queue": "INSERT",
    "celery_taskmeta": "INSERT OR UPDATE",
}
# In a function's body, because what a trigger's own condition names Airflow's migrations could not
# change any more. A task that is queued, begins or tells that it lives wakes nobody.
FUNCTION = f"""
CREATE OR REPLACE FUNCTION stack_wake_scheduler() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  -- One inside the other: PostgreSQL looks for the columns of all that stands in a condition.
  IF TG_TABLE_NAME = 'celery_taskmeta' THEN
    IF NEW.status NOT IN ('SUCCESS', 'FAILURE') THEN
      RETURN NULL;
    END IF;
  ELSIF TG_TABLE_NAME IN ('dag_run', 'task_instance') AND TG_OP = 'UPDATE' THEN
    IF NEW.state IS NOT DISTINCT FROM OLD.state OR NEW.state IN ('queued', 'running') THEN
      RETURN NULL;
    END IF;
  END IF;
  NOTIFY {CHANNEL};
  RETURN NULL;
END
$$
"""
TRIGGER = """
CREATE OR REPLACE TRIGGER stack_wake_scheduler AFTER {when} ON {table}
FOR EACH ROW EXECUTE FUNCTION stack_wake_scheduler()
"""


def make_triggers(cursor: Any) -> None:
    """Have the database tell of work; the tables are there, Celery's where it is used."""
    cursor.execute(FUNCTION)
    for table, when in WORK.items():
        cursor.execute("SELECT to_regclass(%s)", (table,))
        if cursor.fetchone()[0]:
            cursor.execute(TRIGGER.format(table=table, when=when))


class Pause:
    """A pause that ends when the database tells of work."""

    def __init__(self, uri: str) -> None:
        self.uri = uri
        self.connection: Any = None
        self.tried = -RECONNECT_SECONDS
        self.ended = time.monotonic()

    def sleep(self, seconds: float) -> None:
        """Return after that many seconds, or once there is something to do."""
        import psycopg2

        began = time.monotonic()
        time.sleep(min(seconds, REST * (began - self.ended)))
        rest = max(0, began + seconds - time.monotonic())
        try:
            self._connect()
            self._wait(rest)
        except (psycopg2.Error, OSError, ValueError):
            self.connection = None
            time.sleep(rest)
        self.ended = time.monotonic()

    def _connect(self) -> None:
        if self.connection is None and time.monotonic() > self.tried + RECONNECT_SECONDS:
            import initialised

            self.tried = time.monotonic()
            connection = initialised.opened(self.uri, connect_timeout="3")
            connection.autocommit = True
            connection.cursor().execute(f"LISTEN {CHANNEL}")
            self.connection = connection

    def _wait(self, seconds: float) -> None:
        if self.connection is None:
            time.sleep(seconds)
            return
        # What was told while the scheduler worked may have come already.
        self.connection.poll()
        if not self.connection.notifies:
            select.select([self.connection], [], [], seconds)
            self.connection.poll()
        self.connection.notifies.clear()


def wake(scheduler: ModuleType) -> None:
    """Have the scheduler pause by `Pause`."""
    pause = Pause(os.environ["AIRFLOW__DATABASE__SQL_ALCHEMY_CONN"])
    scheduler.time = SimpleNamespace(**{**vars(time), "sleep": pause.sleep})  # type: ignore[attr-defined]


wrapt.register_post_import_hook(wake, SCHEDULER)
