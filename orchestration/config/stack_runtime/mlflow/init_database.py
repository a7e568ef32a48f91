"""Init job of MLflow: create or upgrade its schemas, create its accounts.

It uses Python because `mlflow db upgrade` takes the URI with its password as an argument. If both
databases have not changed since the last run, it does not even import MLflow.
"""

import os
from contextlib import closing
from typing import Any

from stack_runtime.mlflow import accounts
from stack_runtime.shared import database_url, init_marker, patch_registry
from stack_runtime.shared.wait_for_server import wait_for_server


def migrate(uri: str) -> None:
    """Migrate the backend store to this MLflow's schema, then check the schema."""
    from mlflow.store.db import utils
    from sqlalchemy import inspect

    engine = utils.create_sqlalchemy_engine_with_retry(uri)
    if inspect(engine).has_table("alembic_version"):
        utils._upgrade_db(engine)
    else:
        utils._initialize_tables(engine)
    utils._verify_schema(engine)


def create_accounts(uri: str) -> None:
    """Create or update MLflow's accounts and their database, next to the backend store."""
    accounts.point_at(uri)
    superuser = {"user": "postgres", "password": os.environ["POSTGRES_PASSWORD"]}
    with closing(database_url.connect(uri, dbname="postgres", **superuser)) as connection:
        accounts.create_database(connection)
    store = accounts.open_store()
    for message in accounts.create_accounts(store, lambda: accounts.store_contents(uri)):
        print(message)


def state_digest(cursor: Any, uri: str) -> str:
    """Return a digest of schemas, accounts and their sources, including the passwords in .env."""
    rows = [database_url.rows(cursor, "SELECT version_num FROM alembic_version")]
    rows += accounts.current_state(uri)
    key = "\n".join(os.environ[name] for name in accounts.PASSWORDS.values())
    return init_marker.digest(rows, key=key)


def main(uri: str) -> None:
    """Wait for PostgreSQL, then initialize both databases unless nothing has changed."""
    wait_for_server(uri)
    with closing(database_url.connect(uri)) as connection:
        connection.autocommit = True
        cursor, dbname = connection.cursor(), connection.info.dbname
        marker = init_marker.read(cursor, dbname)
        if marker and marker.digest == state_digest(cursor, uri):
            print("The backend store and the accounts are up to date.")
            return
        migrate(uri)
        print("The backend store has the schema of this MLflow.")
        create_accounts(uri)
        from stack_runtime.mlflow.patches import PATCHES

        inactive = patch_registry.inactive(PATCHES)
        marker = init_marker.Marker(state_digest(cursor, uri), inactive)
        init_marker.write(cursor, dbname, marker)


if __name__ == "__main__":
    main(os.environ["MLFLOW_BACKEND_STORE_URI"])
