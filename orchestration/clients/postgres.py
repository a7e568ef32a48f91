"""Dump, load, compare and switch the stack's databases."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from orchestration import checksums
from orchestration.engines.base import Runtime
from orchestration.errors import StackError
from orchestration.process import runner
from orchestration.process.wait import wait_until

# Each database with its owner, in the order of the dumps. MLflow's permissions are dumped first:
# an experiment created in between then lacks a permission, but no permission lacks its experiment.
OWNERS = {"mlflow_auth": "mlflow", "mlflow": "mlflow", "airflow": "airflow"}
NAMES = tuple(OWNERS)
# The database of MLflow's accounts. Older stacks and backups do not have it.
ACCOUNTS = "mlflow_auth"
# Runs a command as the superuser. The password is in the service's environment, never in argv.
AS_SUPERUSER = """
export PGPASSWORD="$POSTGRES_PASSWORD" PGUSER=postgres PGHOST="${POSTGRES_SOCKETS:-127.0.0.1}"
exec "$@"
"""
# A client such as the status page can reconnect before the databases are renamed.
SWITCH_ATTEMPTS = 5
READ_BACK = 'pg_dump --format=custom "$0" | pg_restore --data-only --file=-'
COPY_START, COPY_END = b"COPY ", b"\\."
SEQUENCE = b"SELECT pg_catalog.setval("


def tool(engine: Runtime, *argv: str) -> runner.Command:
    """Return a command that runs a PostgreSQL tool on the server as the superuser."""
    return engine.command("postgres", ("sh", "-c", AS_SUPERUSER, "sh", *argv))


def query(engine: Runtime, statements: str) -> list[str]:
    """Run SQL in one transaction and return the lines of output. Raises StackError if it fails."""
    options = ("--no-psqlrc", "--quiet", "-At", "--set=ON_ERROR_STOP=1")
    return runner.run(tool(engine, "psql", *options, "--command", statements)).output.splitlines()


def wait(engine: Runtime, seconds: float = 60) -> None:
    """Wait until the server answers; raises StackError if it does not in time."""

    def answers() -> bool:
        query(engine, "SELECT 1")
        return True

    wait_until(answers, seconds, pause=0.5, retry=(StackError,))


def list_databases(engine: Runtime) -> set[str]:
    """Return the names of all databases."""
    return set(query(engine, "SELECT datname FROM pg_database"))


def create_missing(engine: Runtime) -> None:
    """Create the accounts database in a stack that predates it; MLflow's init job fills it."""
    if ACCOUNTS not in list_databases(engine):
        create_empty(engine, ACCOUNTS)


def create_empty(engine: Runtime, name: str, suffix: str = "") -> None:
    """Create a database that only its owner can use; with `suffix`, replace NAME_SUFFIX."""
    database = f"{name}_{suffix}" if suffix else name
    if suffix:
        query(engine, f"DROP DATABASE IF EXISTS {database} WITH (FORCE)")
    query(engine, f"CREATE DATABASE {database} OWNER {OWNERS[name]} TEMPLATE template0")
    query(engine, f"REVOKE CONNECT, TEMPORARY ON DATABASE {database} FROM PUBLIC")


def version(engine: Runtime) -> str:
    """Return the version of the server, such as 16.10."""
    return query(engine, "SHOW server_version")[0].split()[0]


def dump(engine: Runtime, name: str, into: Path) -> None:
    """Write a consistent dump of a database in PostgreSQL's custom format, while it is in use."""
    with os.fdopen(os.open(into, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
        runner.run(tool(engine, "pg_dump", "--format=custom", name), into=file)


def tables_in_dump(engine: Runtime, file: Path) -> dict[str, Any]:
    """Return row count and digest of every table in a dump, and of its sequences.

    Reads the dump with PostgreSQL's own tool. Raises StackError if that cannot read it to the end.
    """
    command = tool(engine, "pg_restore", "--data-only", "--file=-")
    with file.open("rb") as source, runner.stream_output(command, source) as output:
        return dict(_tables(iter(output)))


def tables_in_database(engine: Runtime, name: str) -> dict[str, Any]:
    """Return the same for a database. Raises StackError if it cannot be dumped."""
    command = tool(engine, "bash", "-o", "pipefail", "-c", READ_BACK, name)
    with runner.stream_output(command) as output:
        return dict(_tables(iter(output)))


def _tables(lines: Iterator[bytes]) -> Iterator[tuple[str, Any]]:
    sequences = []
    for line in lines:
        if line.startswith(COPY_START):
            name = line.split()[1].decode().removeprefix("public.")
            rows = iter(lambda: next(lines, COPY_END).rstrip(b"\n"), COPY_END)
            yield name, checksums.digest(rows)
        elif line.startswith(SEQUENCE):
            sequences.append(line)
    yield "(sequences)", checksums.digest(sequences)


def load(engine: Runtime, name: str, file: Path) -> None:
    """Load a dump into NAME_loaded, next to the live database, which is not changed.

    Raises StackError if the dump cannot be loaded.
    """
    create_empty(engine, name, "loaded")
    options = ("--no-owner", "--no-acl", f"--role={OWNERS[name]}", "--exit-on-error")
    with file.open("rb") as source:
        runner.run(tool(engine, "pg_restore", f"--dbname={name}_loaded", *options), source=source)


def switch(engine: Runtime, *, back: bool = False) -> None:
    """Replace the live databases by the loaded ones in one transaction; `back` reverses that.

    Terminates all connections to them. Raises StackError, with nothing changed, if it fails.
    """
    away, here = ("loaded", "before") if back else ("before", "loaded")
    databases = ", ".join(f"'{name}', '{name}_{here}'" for name in NAMES)
    statements = "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity "
    statements += f"WHERE datname IN ({databases}) AND pid <> pg_backend_pid();"
    for name in NAMES:
        statements += f"ALTER DATABASE {name} RENAME TO {name}_{away};"
        statements += f"ALTER DATABASE {name}_{here} RENAME TO {name};"
    for attempt in range(1, SWITCH_ATTEMPTS + 1):
        try:
            query(engine, statements)
            return
        except StackError:
            if attempt == SWITCH_ATTEMPTS:
                raise


def drop(engine: Runtime, suffix: str) -> None:
    """Drop the databases next to the live ones, if they exist: `loaded` or `before`."""
    for name in NAMES:
        query(engine, f"DROP DATABASE IF EXISTS {name}_{suffix} WITH (FORCE)")
