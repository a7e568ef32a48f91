"""The one-shot before MLflow's server: its schemas made or upgraded, its accounts made.

Through Python because `mlflow db upgrade` takes the URI, password included, as an argument.
"""

import os
from contextlib import closing

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
    import psycopg2

    mlflow_accounts.point_at(uri)
    superuser = {"user": "postgres", "password": os.environ["POSTGRES_PASSWORD"]}
    with closing(psycopg2.connect(dbname="postgres", **superuser)) as opened:
        mlflow_accounts.make_database(opened)
    for told in mlflow_accounts.make(
        mlflow_accounts.opened(), lambda: mlflow_accounts.what_is_there(uri)
    ):
        print(told)


if __name__ == "__main__":
    store = os.environ["MLFLOW_BACKEND_STORE_URI"]
    wait_for_server(store)
    migrate(store)
    print("the backend store is at this MLflow's schema")
    make_accounts(store)
