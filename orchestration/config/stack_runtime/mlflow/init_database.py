"""The one-shot before MLflow's server: its schemas made or upgraded, its accounts made.

Through Python because `mlflow db upgrade` takes the URI, password included, as an argument. Where
both databases are as this left them, not even MLflow is imported.
"""

import os
from contextlib import closing
from typing import Any

from stack_runtime.mlflow import accounts
from stack_runtime.shared import database_url, init_marker, patch_registry
from stack_runtime.shared.wait_for_server import wait_for_server


def migrate(uri: str) -> None:
    """Bring the backend store to this MLflow's schema, then prove that it is there."""
    from mlflow.store.db import utils
    from sqlalchemy import inspect

    engine = utils.create_sqlalchemy_engine_with_retry(uri)
    if inspect(engine).has_table("alembic_version"):
        utils._upgrade_db(engine)
    else:
        utils._initialize_tables(engine)
    utils._verify_schema(engine)


def make_accounts(uri: str) -> None:
    """Make MLflow's accounts and their database beside the backend store, or bring them up."""
    accounts.point_at(uri)
    superuser = {"user": "postgres", "password": os.environ["POSTGRES_PASSWORD"]}
    with closing(database_url.connect(uri, dbname="postgres", **superuser)) as opened:
        accounts.make_database(opened)
    for told in accounts.make(accounts.opened(), lambda: accounts.what_is_there(uri)):
        print(told)


def found(cursor: Any, uri: str) -> str:
    """A digest of both databases as far as this looks after them, and of what they are made from.

    Of other passwords in .env it is another.
    """
    rows = [database_url.rows(cursor, "SELECT version_num FROM alembic_version")]
    rows += accounts.as_it_is(uri)
    key = "\n".join(os.environ[name] for name in accounts.PASSWORDS.values())
    return init_marker.digest(rows, key=key)


def main(uri: str) -> None:
    """Wait for PostgreSQL, then all of it."""
    wait_for_server(uri)
    with closing(database_url.connect(uri)) as connection:
        connection.autocommit = True
        cursor, place = connection.cursor(), connection.info.dbname
        marker = init_marker.read(cursor, place)
        if marker and marker.digest == found(cursor, uri):
            print("the backend store and the accounts are as they were left")
            return
        migrate(uri)
        print("the backend store is at this MLflow's schema")
        make_accounts(uri)
        from stack_runtime.mlflow.patches import PATCHES

        inactive = patch_registry.inactive(PATCHES)
        init_marker.write(cursor, place, init_marker.Marker(found(cursor, uri), inactive))


if __name__ == "__main__":
    main(os.environ["MLFLOW_BACKEND_STORE_URI"])
