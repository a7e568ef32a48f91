"""The one-shot before Airflow's services: schema migrated and checked, accounts made.

Idempotent; fails loudly (the official entrypoint ends both steps with `|| true`). One process, and
through Python: a command of the CLI costs two seconds to start and shows passwords to ps.
"""

import os
import sys

from wait_for_server import wait_for_server

ACCOUNT = ("USERNAME", "PASSWORD")


def migrate() -> None:
    """Bring the metadata database to this Airflow's schema, then prove that it is there."""
    from airflow import settings
    from airflow.utils import db

    settings.engine.dispose()
    db.upgradedb() if tables_exist() else db.initdb()
    db.check_migrations(timeout=0)


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


def main() -> None:
    """Wait for PostgreSQL, migrate, make the accounts; `renew`: only the first one's password."""
    name, password = (os.environ[f"_AIRFLOW_WWW_USER_{part}"] for part in ACCOUNT)
    if sys.argv[1:] == ["renew"]:
        print(create_first_account(name, password, renew=True))
        return
    database = os.environ["AIRFLOW__DATABASE__SQL_ALCHEMY_CONN"]
    wait_for_server(database)
    migrate()
    from status_reader import let_status_read

    let_status_read(database)
    print(create_first_account(name, password))


if __name__ == "__main__":
    main()
