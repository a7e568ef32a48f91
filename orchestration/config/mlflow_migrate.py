"""The one-shot before MLflow's server: its schema made on an empty database, else upgraded.

Through Python because `mlflow db upgrade` takes the URI, password included, as an argument.
"""

import os

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


if __name__ == "__main__":
    store = os.environ["MLFLOW_BACKEND_STORE_URI"]
    wait_for_server(store)
    migrate(store)
    print("the backend store is at this MLflow's schema")
