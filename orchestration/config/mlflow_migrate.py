"""The one-shot before MLflow's server: its schemas made or upgraded, its accounts made.

Through Python because `mlflow db upgrade` takes the URI, password included, as an argument. Where
both databases are as this left them, not even MLflow is imported.
"""

import os
from contextlib import closing
from typing import Any

import initialised
import mlflow_accounts
from wait_for_server import wait_for_server


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
    mlflow_accounts.point_at(uri)
    superuser = {"user": "postgres", "password": os.environ["POSTGRES_PASSWORD"]}
    with closing(initialised.opened(uri, dbname="postgres", **superuser)) as opened:
        mlflow_accounts.make_database(opened)
    for told in mlflow_accounts.make(
        mlflow_accounts.opened(), lambda: mlflow_accounts.what_is_there(uri)
    ):
        print(told)


def found(cursor: Any, uri: str) -> str:
    """A digest of both databases as far as this looks after them, and of what they are made from.

    Of other passwords in .env it is another.
    """
    rows = [initialised.answers(cursor, "SELECT version_num FROM alembic_version")]
    rows += mlflow_accounts.as_it_is(uri)
    key = "\n".join(os.environ[name] for name in mlflow_accounts.PASSWORDS.values())
    return initialised.digest(rows, key=key)


def main(uri: str) -> None:
    """Wait for PostgreSQL, then all of it."""
    wait_for_server(uri)
    with closing(initialised.opened(uri)) as connection:
        connection.autocommit = True
        cursor, place = connection.cursor(), connection.info.dbname
        if initialised.noted(cursor, place) == found(cursor, uri):
            print("the backend store and the accounts are as they were left")
            return
        migrate(uri)
        print("the backend store is at this MLflow's schema")
        make_accounts(uri)
        initialised.note(cursor, place, found(cursor, uri))


if __name__ == "__main__":
    main(os.environ["MLFLOW_BACKEND_STORE_URI"])
