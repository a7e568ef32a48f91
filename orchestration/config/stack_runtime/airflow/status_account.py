"""The status page's account in PostgreSQL, which can read only what the page shows.

Every start updates it, so that an older stack gets the account, and a changed password applies. A
superuser creates the role. Airflow's role then grants its own columns one by one, because a run's
configuration or a task's result may be confidential.
"""

import os
from contextlib import closing

from psycopg2.extensions import connection as Connection
from psycopg2.extensions import encrypt_password
from psycopg2.sql import SQL, Identifier, Literal

from stack_runtime.shared import database_url

ROLE = "status"
COLUMNS = {
    "job": "id, job_type, state, latest_heartbeat",
    "trigger": "triggerer_id, created_date",
    "task_instance": "dag_id, state, queue, pool, pool_slots, scheduled_dttm, queued_dttm, "
    "queued_by_job_id, last_heartbeat_at",
    "slot_pool": "pool, slots, include_deferred",
    "dag_run": "id, dag_id, run_id, state, queued_at, start_date, end_date",
    "import_error": "filename, stacktrace, timestamp",
    "dag": "dag_id, is_stale, bundle_name, relative_fileloc, last_parsed_time",
    "dag_tag": "dag_id, name",
}
# A function, because Airflow's migrations cannot change a table that a view uses.
HOPS = """
CREATE OR REPLACE FUNCTION status_canary_hops() RETURNS json LANGUAGE sql STABLE SECURITY DEFINER
SET search_path = public AS $$
  SELECT value::json FROM xcom WHERE dag_id = 'canary' AND key = 'return_value'
  ORDER BY timestamp DESC LIMIT 1
$$
"""


def create_role(superuser: Connection, password: str) -> None:
    """Create the role or set its password, and let it connect to Airflow's database."""
    role = Identifier(ROLE)
    with superuser, superuser.cursor() as cursor:
        cursor.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", (ROLE,))
        command = "ALTER" if cursor.fetchone() else "CREATE"
        limits = "LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE CONNECTION LIMIT 5 PASSWORD"
        # The password is hashed here because the server may log the statement.
        hashed = encrypt_password(password, ROLE, superuser, "scram-sha-256")
        cursor.execute(SQL(f"{command} ROLE {{}} {limits} {{}}").format(role, Literal(hashed)))
        for setting in ("default_transaction_read_only = on", "statement_timeout = '5s'"):
            cursor.execute(SQL(f"ALTER ROLE {{}} SET {setting}").format(role))
        cursor.execute(SQL("GRANT CONNECT ON DATABASE airflow TO {}").format(role))
        # PostgreSQL grants this to every role by default, and older stacks still have it.
        cursor.execute("REVOKE CONNECT, TEMPORARY ON DATABASE template1 FROM PUBLIC")
        # The page shows the sizes of both databases and the number of connections.
        cursor.execute(SQL("GRANT pg_read_all_stats TO {}").format(role))


def grant_columns(owner: Connection) -> None:
    """Grant the role the columns that the page shows, and the canary's result."""
    role = Identifier(ROLE)
    with owner, owner.cursor() as cursor:
        for table, columns in COLUMNS.items():
            cursor.execute(SQL(f"GRANT SELECT ({columns}) ON {table} TO {{}}").format(role))
        cursor.execute(HOPS)
        cursor.execute("REVOKE ALL ON FUNCTION status_canary_hops FROM PUBLIC")
        cursor.execute(SQL("GRANT EXECUTE ON FUNCTION status_canary_hops TO {}").format(role))


def create_account(airflow: str) -> None:
    """Create or update the account in the database at Airflow's SQLAlchemy URL."""
    superuser = {"user": "postgres", "password": os.environ["POSTGRES_PASSWORD"]}
    with closing(database_url.connect(airflow, **superuser)) as connection:
        create_role(connection, os.environ["STATUS_PASSWORD"])
    with closing(database_url.connect(airflow)) as connection:
        grant_columns(connection)
