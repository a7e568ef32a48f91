"""The database tells services of work (`NOTIFY`) the moment it is committed: waking.py listens."""

from typing import Any

# Who is told of rows that are new, and of those that change.
NEW = {
    "dag_run": "scheduler",
    "asset_dag_run_queue": "scheduler",
    "trigger": "triggerer",
    "dag_priority_parsing_request": "dag_processor",
    "callback_request": "dag_processor",
}
CHANGED = {name: "scheduler" for name in ("dag", "dag_run", "task_instance", "celery_taskmeta")}
# In functions' bodies, because what a trigger's own condition names Airflow's migrations could not
# change any more. One condition inside the other: PostgreSQL looks for all columns of one. A task
# that is queued, begins or tells that it lives is no work. With Celery's result a place is free.
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


def make_triggers(cursor: Any) -> None:
    """Have the database tell of work; the tables are there, Celery's where it is used."""
    cursor.execute(FUNCTIONS)
    wanted = [(table, "INSERT", channel, "stack_tell") for table, channel in NEW.items()]
    wanted += [
        (table, "UPDATE", channel, "stack_tell_of_change") for table, channel in CHANGED.items()
    ]
    for table, when, channel, function in wanted:
        cursor.execute("SELECT to_regclass(%s)", (table,))
        if cursor.fetchone()[0]:
            cursor.execute(
                TRIGGER.format(table=table, when=when, channel=channel, function=function)
            )
