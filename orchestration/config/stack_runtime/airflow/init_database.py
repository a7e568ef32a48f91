"""The one-shot before Airflow's services: schema migrated and checked, accounts made.

Idempotent; fails loudly (the official entrypoint ends both steps with `|| true`). One process, and
through Python: a command of the CLI costs two seconds to start and shows passwords to ps. Where the
database is as this left it, not even Airflow is imported.
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
THE_ACCOUNT = "SELECT username FROM ab_user WHERE username = %s"


def migrate() -> None:
    """Bring the metadata database to this Airflow's schema, then prove that it is there."""
    from airflow import settings
    from airflow.utils import db

    settings.engine.dispose()
    db.upgradedb() if tables_exist() else db.initdb()
    db.check_migrations(timeout=0)


def make_result_tables() -> None:
    """Make the tables that Celery makes when it is first used: there is to be a trigger on one."""
    if os.environ.get("AIRFLOW__CORE__EXECUTOR") == "CeleryExecutor":
        from airflow.providers.celery.executors.celery_executor_utils import app

        app.backend.ResultSession().close()


def tables_exist() -> bool:
    """Tell whether a schema was made before (an empty database is created in one go)."""
    from airflow import settings
    from sqlalchemy import inspect

    return bool(inspect(settings.engine).has_table("alembic_version"))


def create_first_account(username: str, password: str, *, renew: bool = False) -> str:
    """Make the account with role Admin unless it exists; a password changed since is kept.

    Or given this one, where it is to `renew`. Returns what was done. Raises SystemExit when Airflow
    refuses the account.
    """
    from airflow.providers.fab.auth_manager.cli_commands.utils import get_application_builder
    from airflow.providers_manager import ProvidersManager

    # The provider's own settings have their defaults only after this.
    ProvidersManager().initialize_providers_configuration()
    with get_application_builder() as builder:
        security = builder.sm
        if user := security.find_user(username=username):
            if renew:
                security.reset_password(user.id, password)
            return f"account {username} {'has a new password' if renew else 'exists'}"
        made = security.add_user(
            username, username, "", f"{username}@localhost", security.find_role("Admin"), password
        )
        if not made:
            sys.exit(f"Airflow refused the account {username}: see the lines above")
        return f"account {username} made"


def found(cursor: Any, username: str) -> str:
    """Return a digest of what this job is responsible for, and of what that was made from."""
    rows = [
        database_url.rows(cursor, VERSIONS),
        database_url.rows(cursor, THE_ACCOUNT, username),
        notify_triggers.existing(cursor),
    ]
    return init_marker.digest(rows, key=f"{username} {os.environ.get('AIRFLOW__CORE__EXECUTOR')}")


def initialise(database: str, name: str, password: str) -> None:
    """Migrate, have the scheduler woken, make the account; unless all of it is done."""
    with closing(database_url.connect(database)) as connection:
        connection.autocommit = True
        cursor, place = connection.cursor(), connection.info.dbname
        marker = init_marker.read(cursor, place)
        if marker and marker.digest == found(cursor, name):
            print(f"schema and account {name} are as they were left")
            return
        migrate()
        make_result_tables()
        notify_triggers.make_triggers(cursor)
        print(create_first_account(name, password))
        from stack_runtime.airflow.patches import PATCHES

        inactive = patch_registry.inactive(PATCHES)
        init_marker.write(cursor, place, init_marker.Marker(found(cursor, name), inactive))


def main() -> None:
    """Wait for PostgreSQL, then all of it; `renew`: only the first account's password."""
    name, password = (os.environ[f"_AIRFLOW_WWW_USER_{part}"] for part in ACCOUNT)
    if sys.argv[1:] == ["renew"]:
        print(create_first_account(name, password, renew=True))
        return
    database = os.environ["AIRFLOW__DATABASE__SQL_ALCHEMY_CONN"]
    wait_for_server(database)
    initialise(database, name, password)
    from stack_runtime.airflow.status_account import let_status_read

    let_status_read(database)


if __name__ == "__main__":
    main()
