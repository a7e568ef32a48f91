"""MLflow's accounts: admin for people, worker for tasks, status for the page, which only reads.

`python -m stack_runtime.mlflow.accounts renew` gives admin the password of .env. Otherwise that
account is created once, as Airflow's first account is: a password that was changed since is kept.
"""

import os
import sys
from collections.abc import Iterator, MutableMapping
from contextlib import closing
from typing import Any

DATABASE = "mlflow_auth"
ADMIN, WORKER, READER = "admin", "worker", "status"
# Variables of the one-shot, by account.
PASSWORDS = {
    ADMIN: "MLFLOW_ADMIN_PASSWORD", WORKER: "MLFLOW_WORKER_PASSWORD", READER: "STATUS_PASSWORD",
}  # fmt: skip
READ_BY_STATUS = ("experiment", "registered_model")
# Where runs go whose code names no experiment; the server makes it.
DEFAULT_EXPERIMENT = "0"
THERE = """
SELECT 'experiment', CAST(experiment_id AS TEXT) FROM experiments UNION ALL
SELECT CASE WHEN EXISTS (SELECT 1 FROM registered_model_tags AS tag WHERE tag.name = model.name
  AND tag.key = 'mlflow.prompt.is_prompt' AND LOWER(tag.value) = 'true')
  THEN 'prompt' ELSE 'registered_model' END, model.name FROM registered_models AS model
"""
# What is to be as it was left, asked of the accounts' database.
LEFT = (
    ("SELECT version_num FROM alembic_version_auth", ()),
    (
        "SELECT username, password_hash, is_admin FROM users WHERE username IN %s ORDER BY 1",
        (tuple(PASSWORDS),),
    ),
)


def point_at(store: str, environment: MutableMapping[str, str] = os.environ) -> None:
    """Let PostgreSQL's driver find MLflow's accounts beside the backend store at this address.

    MLflow reads the address from a file; what it does not name the driver takes from here.
    """
    from sqlalchemy.engine import make_url

    url = make_url(store)
    where = url.host or url.query.get("host")
    told = {"HOST": where, "PORT": url.port, "USER": url.username, "PASSWORD": url.password}
    environment.update({f"PG{name}": str(value) for name, value in told.items() if value})


def make_database(superuser: Any) -> None:
    """Make the database where there is none, as in a stack of before; only MLflow may open it."""
    # It cannot be made in a transaction.
    superuser.autocommit = True
    with superuser.cursor() as cursor:
        cursor.execute("SELECT 1 FROM pg_database WHERE datname = %s", (DATABASE,))
        if not cursor.fetchone():
            cursor.execute(f"CREATE DATABASE {DATABASE} OWNER mlflow")
        cursor.execute(f"REVOKE CONNECT, TEMPORARY ON DATABASE {DATABASE} FROM PUBLIC")


def migrate(uri: str) -> None:
    """Bring the database of accounts to this MLflow's schema, then prove that it is there.

    Raises SystemExit where it is not.
    """
    from alembic.migration import MigrationContext
    from alembic.script import ScriptDirectory
    from mlflow.server.auth.db import utils
    from mlflow.store.db.utils import create_sqlalchemy_engine_with_retry

    engine = create_sqlalchemy_engine_with_retry(uri)
    utils.migrate_if_needed(engine, "head")
    head = ScriptDirectory.from_config(utils._get_alembic_config(uri)).get_current_head()
    with closing(engine.connect()) as opened:
        options = {"version_table": "alembic_version_auth"}
        found = MigrationContext.configure(opened, opts=options).get_current_revision()
    engine.dispose()
    if found != head:
        sys.exit(f"the schema of MLflow's accounts is {found}, and has to be {head}")


def opened() -> Any:
    """MLflow's own store of accounts."""
    from mlflow.server.auth import auth_config
    from mlflow.server.auth.sqlalchemy_store import SqlAlchemyStore

    migrate(auth_config.database_uri)
    store = SqlAlchemyStore()
    store.init_db(auth_config.database_uri)
    return store


def make(accounts: Any, there: Any) -> Iterator[str]:
    """Make the three accounts, or renew what has to be; a line for each.

    `there` tells what the backend store holds. From before accounts were known it has no owner:
    a worker that is new gets all of it.
    """
    passwords = {name: os.environ[variable] for name, variable in PASSWORDS.items()}
    if not accounts.has_user(ADMIN):
        accounts.create_user(ADMIN, passwords[ADMIN], is_admin=True)
        yield f"account {ADMIN} made"
    if made := _made_or_renewed(accounts, WORKER, passwords[WORKER]):
        yield made
    if made.endswith("made"):
        given = {("experiment", DEFAULT_EXPERIMENT), *there()}
        for kind, name in sorted(given):
            accounts.grant_user_permission(WORKER, kind, name, "MANAGE")
        yield f"account {WORKER} owns what was there: {len(given)}"
    if made := _made_or_renewed(accounts, READER, passwords[READER]):
        yield made
    for kind in READ_BY_STATUS:
        accounts.grant_user_permission(READER, kind, "*", "READ")


def _made_or_renewed(accounts: Any, name: str, password: str) -> str:
    if not accounts.has_user(name):
        accounts.create_user(name, password)
        return f"account {name} made"
    if accounts.authenticate_user(name, password):
        return ""
    accounts.update_user(name, password=password)
    return f"account {name} has a new password"


def what_is_there(store: str) -> Iterator[tuple[str, str]]:
    """Each experiment, registered model and prompt of the backend store: kind, and id or name."""
    from sqlalchemy import create_engine

    engine = create_engine(store)
    with engine.connect() as connection:
        yield from ((kind, name) for kind, name in connection.exec_driver_sql(THERE))
    engine.dispose()


def as_it_is(store: str) -> list[Any]:
    """What is to be as it was left for nothing to be done: the schema's version, the accounts."""
    import psycopg2

    from stack_runtime.shared import database_url

    try:
        with closing(database_url.connect(store, dbname=DATABASE)) as connection:
            connection.autocommit = True
            cursor = connection.cursor()
            return [database_url.rows(cursor, query, *values) for query, values in LEFT]
    except psycopg2.OperationalError:
        # There is none, in a stack of before.
        return []


def renew_admin() -> str:
    """Give admin the password of .env; what was done."""
    point_at(os.environ["MLFLOW_BACKEND_STORE_URI"])
    opened().update_user(ADMIN, password=os.environ[PASSWORDS[ADMIN]])
    return f"account {ADMIN} has a new password"


if __name__ == "__main__":
    if sys.argv[1:] != ["renew"]:
        sys.exit(__doc__)
    print(renew_admin())
