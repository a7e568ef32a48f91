"""MLflow's accounts: admin for people, worker for tasks, status (read-only) for the status page.

The account admin is created once and keeps a changed password, like Airflow's first account.
`python -m stack_runtime.mlflow.accounts renew` resets its password to the one in .env.
"""

import os
import sys
from collections.abc import Iterator, MutableMapping
from contextlib import closing
from typing import Any

DATABASE = "mlflow_auth"
ADMIN, WORKER, READER = "admin", "worker", "status"
# Environment variables of the init job, by account.
PASSWORDS = {
    ADMIN: "MLFLOW_ADMIN_PASSWORD", WORKER: "MLFLOW_WORKER_PASSWORD", READER: "STATUS_PASSWORD",
}  # fmt: skip
READ_BY_STATUS = ("experiment", "registered_model")
# Runs whose code names no experiment go here. The server creates it.
DEFAULT_EXPERIMENT = "0"
CONTENTS = """
SELECT 'experiment', CAST(experiment_id AS TEXT) FROM experiments UNION ALL
SELECT CASE WHEN EXISTS (SELECT 1 FROM registered_model_tags AS tag WHERE tag.name = model.name
  AND tag.key = 'mlflow.prompt.is_prompt' AND LOWER(tag.value) = 'true')
  THEN 'prompt' ELSE 'registered_model' END, model.name FROM registered_models AS model
"""
# The init job has nothing to do if the results of these queries have not changed.
STATE_QUERIES = (
    ("SELECT version_num FROM alembic_version_auth", ()),
    (
        "SELECT username, password_hash, is_admin FROM users WHERE username IN %s ORDER BY 1",
        (tuple(PASSWORDS),),
    ),
)


def point_at(store: str, environment: MutableMapping[str, str] = os.environ) -> None:
    """Set the PostgreSQL server of the accounts to that of the backend store at this URL.

    MLflow reads the URL of the accounts from a file. The driver takes missing parts from the
    environment.
    """
    from sqlalchemy.engine import make_url

    url = make_url(store)
    host = url.host or url.query.get("host")
    parts = {"HOST": host, "PORT": url.port, "USER": url.username, "PASSWORD": url.password}
    environment.update({f"PG{name}": str(value) for name, value in parts.items() if value})


def create_database(superuser: Any) -> None:
    """Create the database if an older stack lacks it; only MLflow can connect to it."""
    # CREATE DATABASE cannot run in a transaction.
    superuser.autocommit = True
    with superuser.cursor() as cursor:
        cursor.execute("SELECT 1 FROM pg_database WHERE datname = %s", (DATABASE,))
        if not cursor.fetchone():
            cursor.execute(f"CREATE DATABASE {DATABASE} OWNER mlflow")
        cursor.execute(f"REVOKE CONNECT, TEMPORARY ON DATABASE {DATABASE} FROM PUBLIC")


def migrate(uri: str) -> None:
    """Migrate the accounts' database to this MLflow's schema, then check the schema.

    Raises SystemExit if it differs.
    """
    from alembic.migration import MigrationContext
    from alembic.script import ScriptDirectory
    from mlflow.server.auth.db import utils
    from mlflow.store.db.utils import create_sqlalchemy_engine_with_retry

    engine = create_sqlalchemy_engine_with_retry(uri)
    utils.migrate_if_needed(engine, "head")
    head = ScriptDirectory.from_config(utils._get_alembic_config(uri)).get_current_head()
    with closing(engine.connect()) as connection:
        options = {"version_table": "alembic_version_auth"}
        revision = MigrationContext.configure(connection, opts=options).get_current_revision()
    engine.dispose()
    if revision != head:
        sys.exit(f"The schema of MLflow's accounts is {revision} instead of {head}.")


def open_store() -> Any:
    """Return MLflow's own store of accounts, with its schema migrated."""
    from mlflow.server.auth import auth_config
    from mlflow.server.auth.sqlalchemy_store import SqlAlchemyStore

    migrate(auth_config.database_uri)
    store = SqlAlchemyStore()
    store.init_db(auth_config.database_uri)
    return store


def create_accounts(accounts: Any, contents: Any) -> Iterator[str]:
    """Create the three accounts or update their passwords; yield a message for each change.

    `contents` returns what the backend store contains. In a store from before accounts existed,
    nothing has an owner, so a new worker gets all of it.
    """
    passwords = {name: os.environ[variable] for name, variable in PASSWORDS.items()}
    if not accounts.has_user(ADMIN):
        accounts.create_user(ADMIN, passwords[ADMIN], is_admin=True)
        yield f"Account {ADMIN} created."
    if message := _create_or_update(accounts, WORKER, passwords[WORKER]):
        yield message
    if message.endswith("created."):
        owned = {("experiment", DEFAULT_EXPERIMENT), *contents()}
        for kind, name in sorted(owned):
            accounts.grant_user_permission(WORKER, kind, name, "MANAGE")
        yield f"Account {WORKER} owns {len(owned)} existing experiments, models and prompts."
    if message := _create_or_update(accounts, READER, passwords[READER]):
        yield message
    for kind in READ_BY_STATUS:
        accounts.grant_user_permission(READER, kind, "*", "READ")


def _create_or_update(accounts: Any, name: str, password: str) -> str:
    if not accounts.has_user(name):
        accounts.create_user(name, password)
        return f"Account {name} created."
    if accounts.authenticate_user(name, password):
        return ""
    accounts.update_user(name, password=password)
    return f"Account {name} has a new password."


def store_contents(store: str) -> Iterator[tuple[str, str]]:
    """Yield each experiment, registered model and prompt of the store: kind, and id or name."""
    from sqlalchemy import create_engine

    engine = create_engine(store)
    with engine.connect() as connection:
        yield from ((kind, name) for kind, name in connection.exec_driver_sql(CONTENTS))
    engine.dispose()


def current_state(store: str) -> list[Any]:
    """Return the schema's version and the accounts, from which the init job detects changes."""
    import psycopg2

    from stack_runtime.shared import database_url

    try:
        with closing(database_url.connect(store, dbname=DATABASE)) as connection:
            connection.autocommit = True
            cursor = connection.cursor()
            return [database_url.rows(cursor, query, *values) for query, values in STATE_QUERIES]
    except psycopg2.OperationalError:
        # A stack from before accounts existed has no such database.
        return []


def renew_admin() -> str:
    """Set admin's password to the one in .env, and return a message."""
    point_at(os.environ["MLFLOW_BACKEND_STORE_URI"])
    open_store().update_user(ADMIN, password=os.environ[PASSWORDS[ADMIN]])
    return f"Account {ADMIN} has a new password."


if __name__ == "__main__":
    if sys.argv[1:] != ["renew"]:
        sys.exit(__doc__)
    print(renew_admin())
