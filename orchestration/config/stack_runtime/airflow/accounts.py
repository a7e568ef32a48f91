"""List, add and remove Airflow's accounts: `python -m stack_runtime.airflow.accounts`.

Reads one request as JSON from standard input, because arguments are visible to all users:
{"action": "list"}, {"action": "add", "name", "role", "password"} or {"action": "remove", "name"}.
Prints {"accounts": {name: roles}} afterwards.
"""

import json
import sys
from typing import Any


def accounts(security: Any) -> dict[str, str]:
    """Return the names of each account's roles, separated by commas."""
    return {
        user.username: ", ".join(sorted(role.name for role in user.roles))
        for user in security.get_all_users()
    }


def add(security: Any, name: str, role: str, password: str) -> None:
    """Create an account, or set the role of an existing one, and its password if it is not blank.

    Raises SystemExit if Airflow refuses it.
    """
    if user := security.find_user(username=name):
        user.roles = [security.find_role(role)]
        if security.update_user(user) is False:
            sys.exit(f"Airflow refused to change the account {name}.")
        if password:
            security.reset_password(user.id, password)
        return
    email = f"{name}@localhost"
    if not security.add_user(name, name, "", email, security.find_role(role), password):
        sys.exit(f"Airflow refused the account {name}. The log lines above show why.")


def remove(security: Any, name: str) -> None:
    """Remove an account. Raises SystemExit if there is none, or Airflow refuses."""
    user = security.find_user(username=name)
    if user:
        user.roles.clear()
    if not user or not security.del_register_user(user):
        sys.exit(f"Airflow refused to remove the account {name}.")


def main(request: dict[str, str]) -> dict[str, str]:
    """Carry out a request and return the accounts."""
    from airflow.providers.fab.auth_manager.cli_commands.utils import get_application_builder
    from airflow.providers_manager import ProvidersManager

    # Without this, the settings of the provider have no defaults.
    ProvidersManager().initialize_providers_configuration()
    with get_application_builder() as builder:
        security, action = builder.sm, request.pop("action")
        if action == "add":
            add(security, **request)
        elif action == "remove":
            remove(security, **request)
        return accounts(security)


if __name__ == "__main__":
    print(json.dumps({"accounts": main(json.load(sys.stdin))}))
