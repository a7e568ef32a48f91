"""Airflow's accounts of people, through a module that runs with Airflow's packages."""

import json
import tempfile
from typing import Any

from orchestration.engines.base import Runtime, runtime_module
from orchestration.process import runner

# Airflow's role for each role of `inv accounts`.
ROLES = {"reader": "Viewer", "writer": "User"}


class AirflowAccounts:
    """Every method raises StackError with the last lines of output if Airflow refuses it."""

    def __init__(self, engine: Runtime) -> None:
        self.engine = engine

    def all(self) -> dict[str, str]:
        """Return the roles of each account, separated by commas, by name."""
        return dict(self._run({"action": "list"})["accounts"])

    def add(self, name: str, role: str, password: str) -> None:
        """Create an account, or set the role of an existing one, and its password if given."""
        self._run({"action": "add", "name": name, "role": ROLES[role], "password": password})

    def remove(self, name: str) -> None:
        """Remove an account."""
        self._run({"action": "remove", "name": name})

    def _run(self, request: dict[str, str]) -> Any:
        argv = runtime_module("airflow.accounts")
        # As standard input, because arguments are visible to all users.
        with tempfile.TemporaryFile() as source:
            source.write(json.dumps(request).encode())
            source.seek(0)
            return runner.run(self.engine.command("airflow-init", argv), source=source).document()
