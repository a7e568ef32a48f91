"""Database triggers that notify services of new work when it is committed (`NOTIFY`).

The services listen in `patches/wake_ups.py`.
"""

from collections.abc import Iterator
from typing import Any

# Channels that are notified of new rows (NEW) and changed rows (CHANGED) of these tables.
NEW = {
    "dag_run": "scheduler",
    "asset_dag_run_queue": "scheduler",
    "trigger": "triggerer",
    "dag_priority_parsing_request": "dag_processor",
    "callback_request": "dag_processor",
}
CHANGED = {name: "scheduler" for name in ("dag", "dag_run", "task_instance", "celery_taskmeta")}
# The names stay as they are, because existing databases contain these functions.
NOTIFY_NEW, NOTIFY_CHANGED = "stack_tell", "stack_tell_of_change"
# The conditions are in the functions, because Airflow's migrations cannot change a column that a
# trigger's own condition names. They are nested because PostgreSQL resolves all columns of a
# condition. Queued tasks, started tasks and heartbeats are no work. Celery's result frees a slot.
FUNCTIONS = """
CREATE OR REPLACE FUNCTION stack_tell() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  PERFORM pg_notify(TG_ARGV[0], '');
  RETURN NULL;
END $$;
CREATE OR REPLACE FUNCTION stack_tell_of_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF TG_TABLE_NAME = 'celery_taskmeta' THEN
    IF NEW.status NOT IN ('SUCCESS', 'FAILURE') THEN
      RETURN NULL;
    END IF;
  ELSIF TG_TABLE_NAME = 'dag' THEN
    IF NEW.is_paused IS NOT DISTINCT FROM OLD.is_paused THEN
      RETURN NULL;
    END IF;
  ELSIF NEW.state IS NOT DISTINCT FROM OLD.state OR NEW.state IN ('queued', 'running') THEN
    RETURN NULL;
  END IF;
  PERFORM pg_notify(TG_ARGV[0], '');
  RETURN NULL;
END $$;
"""
TRIGGER = """
CREATE OR REPLACE TRIGGER {function} AFTER {when} ON {table}
FOR EACH ROW EXECUTE FUNCTION {function}('{channel}')
"""


EXISTING = """
SELECT tgfoid::regproc::text, tgrelid::regclass::text FROM pg_trigger
WHERE NOT tgisinternal AND tgfoid::regproc::text LIKE 'stack_tell%' ORDER BY 1, 2
"""


def create_triggers(cursor: Any) -> None:
    """Create the triggers on the tables that exist; Celery's tables exist only with Celery."""
    cursor.execute(FUNCTIONS)
    for function, when, table, channel in _wanted(cursor):
        cursor.execute(TRIGGER.format(function=function, when=when, table=table, channel=channel))


def existing(cursor: Any) -> list[tuple[str, str]]:
    """Return the existing triggers as function and table."""
    cursor.execute(EXISTING)
    return list(cursor.fetchall())


def missing(cursor: Any, channel: str) -> list[str]:
    """Return the tables without a trigger that notifies this channel."""
    present = existing(cursor)
    wanted = [(function, table) for function, _, table, to in _wanted(cursor) if to == channel]
    return sorted({table for function, table in wanted if (function, table) not in present})


def _wanted(cursor: Any) -> Iterator[tuple[str, str, str, str]]:
    """Yield function, event, table and channel of each trigger."""
    wanted = [(NOTIFY_NEW, "INSERT", table, channel) for table, channel in NEW.items()]
    wanted += [(NOTIFY_CHANGED, "UPDATE", table, channel) for table, channel in CHANGED.items()]
    for trigger in wanted:
        cursor.execute("SELECT to_regclass(%s)", (trigger[2],))
        if cursor.fetchone()[0]:
            yield trigger
