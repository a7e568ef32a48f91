"""Init job of Airflow: migrate and check the schema, create the accounts.

It is idempotent and fails on errors; the official entrypoint ends both steps with `|| true`. It
uses Python because a CLI command takes two seconds to start and shows passwords to ps. If the
database has not changed since the last run, it does not even import Airflow.
"""

import os
import sys
from contextlib import closing
from typing import Any

from stack_runtime.airflow import notify_triggers
from stack_runtime.shared import database_url, init_marker, patch_registry
from stack_runtime.shared.wait_for_server import wait_for_server

ACCOUNT = ("USERNAME", "PASSWORD")
VERSIONS = (
    "SELECT version_num FROM alembic_version UNION ALL SELECT version_num FROM alembic_version_fab"
)
ACCOUNT_QUERY = "SELECT username FROM ab_user WHERE username = %s"


def migrate() -> None:
    """Migrate the metadata database to this Airflow's schema, then check the schema."""
    from airflow import settings
    from airflow.utils import db

    settings.engine.dispose()
    db.upgradedb() if tables_exist() else db.initdb()
    db.check_migrations(timeout=0)


def create_result_tables() -> None:
    """Create Celery's result tables now, not at first use, because one of them gets a trigger."""
    if os.environ.get("AIRFLOW__CORE__EXECUTOR") == "CeleryExecutor":
        from airflow.providers.celery.executors.celery_executor_utils import app

        app.backend.ResultSession().close()


def tables_exist() -> bool:
    """Return whether there is a schema (an empty database gets it in one step)."""
    from airflow import settings
    from sqlalchemy import inspect

    return bool(inspect(settings.engine).has_table("alembic_version"))


def create_first_account(username: str, password: str, *, renew: bool = False) -> str:
    """Create the account with the role Admin, and return a message about the result.

    An existing account keeps its password, unless `renew` is set. Raises SystemExit if Airflow
    refuses the account.
    """
    from airflow.providers.fab.auth_manager.cli_commands.utils import get_application_builder
    from airflow.providers_manager import ProvidersManager

    # Without this, the settings of the provider have no defaults.
    ProvidersManager().initialize_providers_configuration()
    with get_application_builder() as builder:
        security = builder.sm
        if user := security.find_user(username=username):
            if renew:
                security.reset_password(user.id, password)
            return f"Account {username} {'has a new password' if renew else 'exists'}."
        created = security.add_user(
            username, username, "", f"{username}@localhost", security.find_role("Admin"), password
        )
        if not created:
            sys.exit(f"Airflow refused the account {username}. The log lines above show why.")
        return f"Account {username} created."


def state_digest(cursor: Any, username: str) -> str:
    """Return a digest of the schema, account and triggers that exist, and of their sources."""
    rows = [
        database_url.rows(cursor, VERSIONS),
        database_url.rows(cursor, ACCOUNT_QUERY, username),
        notify_triggers.existing(cursor),
    ]
    return init_marker.digest(rows, key=f"{username} {os.environ.get('AIRFLOW__CORE__EXECUTOR')}")


def initialize(database: str, name: str, password: str) -> None:
    """Create or update schema, triggers and account, unless nothing has changed."""
    with closing(database_url.connect(database)) as connection:
        connection.autocommit = True
        cursor, dbname = connection.cursor(), connection.info.dbname
        marker = init_marker.read(cursor, dbname)
        if marker and marker.digest == state_digest(cursor, name):
            print(f"The schema and the account {name} are up to date.")
            return
        migrate()
        create_result_tables()
        notify_triggers.create_triggers(cursor)
        print(create_first_account(name, password))
        from stack_runtime.airflow.patches import PATCHES

        inactive = patch_registry.inactive(PATCHES)
        marker = init_marker.Marker(state_digest(cursor, name), inactive)
        init_marker.write(cursor, dbname, marker)


def main() -> None:
    """Initialize the database, or reset the first account's password if called with `renew`."""
    name, password = (os.environ[f"_AIRFLOW_WWW_USER_{part}"] for part in ACCOUNT)
    if sys.argv[1:] == ["renew"]:
        print(create_first_account(name, password, renew=True))
        return
    database = os.environ["AIRFLOW__DATABASE__SQL_ALCHEMY_CONN"]
    wait_for_server(database)
    initialize(database, name, password)
    from stack_runtime.airflow.status_account import create_account

    create_account(database)


if __name__ == "__main__":
    main()
