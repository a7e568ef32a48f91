"""The status page's own account in PostgreSQL: it may read what the page shows, and nothing else.

Made anew at each start, so that a stack of before gets it, and a changed password. Only a
superuser can; Airflow's role then gives away what it owns, column by column: the configuration of
a run or a task's result may hold what is nobody's business.
"""

import os
from contextlib import closing

from psycopg2.extensions import connection as Connection
from psycopg2.extensions import encrypt_password
from psycopg2.sql import SQL, Identifier, Literal

from stack_runtime.shared import database_url

ROLE = "status"
COLUMNS = {
    "job": "job_type, state, latest_heartbeat",
    "task_instance": "state, queued_dttm",
    "dag_run": "id, dag_id, run_id, state, queued_at, start_date, end_date",
    "import_error": "filename, stacktrace, timestamp",
    "dag": "is_stale",
}
# A function, because a view would keep Airflow's own migrations from changing the table.
HOPS = """
CREATE OR REPLACE FUNCTION status_canary_hops() RETURNS json LANGUAGE sql STABLE SECURITY DEFINER
SET search_path = public AS $$
  SELECT value::json FROM xcom WHERE dag_id = 'canary' AND key = 'return_value'
  ORDER BY timestamp DESC LIMIT 1
$$
"""


def make_role(superuser: Connection, password: str) -> None:
    """Make the role, or give it this password; it may open Airflow's database."""
    role = Identifier(ROLE)
    with superuser, superuser.cursor() as cursor:
        cursor.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", (ROLE,))
        verb = "ALTER" if cursor.fetchone() else "CREATE"
        limits = "LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE CONNECTION LIMIT 5 PASSWORD"
        # Hashed here: the server may log a statement.
        hashed = encrypt_password(password, ROLE, superuser, "scram-sha-256")
        cursor.execute(SQL(f"{verb} ROLE {{}} {limits} {{}}").format(role, Literal(hashed)))
        for setting in ("default_transaction_read_only = on", "statement_timeout = '5s'"):
            cursor.execute(SQL(f"ALTER ROLE {{}} SET {setting}").format(role))
        cursor.execute(SQL("GRANT CONNECT ON DATABASE airflow TO {}").format(role))
        # What PostgreSQL leaves open to every role; here, as in stacks of before it is too.
        cursor.execute("REVOKE CONNECT, TEMPORARY ON DATABASE template1 FROM PUBLIC")
        # The sizes of both databases, and how many connections are in use.
        cursor.execute(SQL("GRANT pg_read_all_stats TO {}").format(role))


def grant_reading(owner: Connection) -> None:
    """Let the role read the columns that the page shows, and the canary's result."""
    role = Identifier(ROLE)
    with owner, owner.cursor() as cursor:
        for table, columns in COLUMNS.items():
            cursor.execute(SQL(f"GRANT SELECT ({columns}) ON {table} TO {{}}").format(role))
        cursor.execute(HOPS)
        cursor.execute("REVOKE ALL ON FUNCTION status_canary_hops FROM PUBLIC")
        cursor.execute(SQL("GRANT EXECUTE ON FUNCTION status_canary_hops TO {}").format(role))


def let_status_read(airflow: str) -> None:
    """Make and allow the role in the database at Airflow's SQLAlchemy address."""
    superuser = {"user": "postgres", "password": os.environ["POSTGRES_PASSWORD"]}
    with closing(database_url.connect(airflow, **superuser)) as connection:
        make_role(connection, os.environ["STATUS_PASSWORD"])
    with closing(database_url.connect(airflow)) as connection:
        grant_reading(connection)
