"""The databases: dumped to files, read back, loaded beside the live ones, switched."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from orchestration import checksums
from orchestration.engines.base import Runtime
from orchestration.errors import StackError
from orchestration.process import runner
from orchestration.process.wait import wait_until

# With the role that each belongs to, in the order of their dumps: an experiment that is made
# meanwhile is then without its owner's right, rather than a right without its experiment.
OWNERS = {"mlflow_auth": "mlflow", "mlflow": "mlflow", "airflow": "airflow"}
NAMES = tuple(OWNERS)
# A stack or a backup of before has none: the database of MLflow's accounts.
LATER = "mlflow_auth"
# Asked as the superuser; the password is in the environment of the service, never in argv.
AS_SUPERUSER = """
export PGPASSWORD="$POSTGRES_PASSWORD" PGUSER=postgres PGHOST="${POSTGRES_SOCKETS:-127.0.0.1}"
exec "$@"
"""
# Somebody who looks at the stack may be faster than the switch.
TRIES = 5
READ_BACK = 'pg_dump --format=custom "$0" | pg_restore --data-only --file=-'
BEGINS, ENDS = b"COPY ", b"\\."
SEQUENCE = b"SELECT pg_catalog.setval("


def tool(engine: Runtime, *argv: str) -> runner.Command:
    """One of PostgreSQL's own tools, where the server runs, as its superuser."""
    return engine.command("postgres", ("sh", "-c", AS_SUPERUSER, "sh", *argv))


def ask(engine: Runtime, statements: str) -> list[str]:
    """Run SQL in one transaction; the lines of its answer. Raises StackError where it fails."""
    options = ("--no-psqlrc", "--quiet", "-At", "--set=ON_ERROR_STOP=1")
    return runner.run(tool(engine, "psql", *options, "--command", statements)).output.splitlines()


def wait(engine: Runtime, seconds: float = 60) -> None:
    """Wait until the server answers; raises StackError when it does not in time."""

    def answers() -> bool:
        ask(engine, "SELECT 1")
        return True

    wait_until(answers, seconds, pause=0.5, retry=(StackError,))


def existing(engine: Runtime) -> set[str]:
    """The names of all databases."""
    return set(ask(engine, "SELECT datname FROM pg_database"))


def complete(engine: Runtime) -> None:
    """Make the database that a stack of before has not; the one-shot before MLflow fills it."""
    if LATER not in existing(engine):
        make_empty(engine, LATER)


def make_empty(engine: Runtime, name: str, beside: str = "") -> None:
    """Make a database with nobody but its owner let in, or another one beside it."""
    made = f"{name}_{beside}" if beside else name
    if beside:
        ask(engine, f"DROP DATABASE IF EXISTS {made} WITH (FORCE)")
    ask(engine, f"CREATE DATABASE {made} OWNER {OWNERS[name]} TEMPLATE template0")
    ask(engine, f"REVOKE CONNECT, TEMPORARY ON DATABASE {made} FROM PUBLIC")


def version(engine: Runtime) -> str:
    """The server's, as 16.10."""
    return ask(engine, "SHOW server_version")[0].split()[0]


def dump(engine: Runtime, name: str, into: Path) -> None:
    """Write a database as of one moment, while it is used, in PostgreSQL's custom format."""
    with os.fdopen(os.open(into, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
        runner.run(tool(engine, "pg_dump", "--format=custom", name), into=file)


def tables(engine: Runtime, file: Path) -> dict[str, Any]:
    """Rows and digest of every table that a dump holds, and of its sequences.

    Read back through PostgreSQL's own tool: a dump that it cannot read to its end raises
    StackError.
    """
    command = tool(engine, "pg_restore", "--data-only", "--file=-")
    with file.open("rb") as source, runner.reading(command, source) as said:
        return dict(_tables(iter(said)))


def tables_of(engine: Runtime, name: str) -> dict[str, Any]:
    """The same of a database that is there; raises as `tables` does."""
    with runner.reading(tool(engine, "bash", "-o", "pipefail", "-c", READ_BACK, name)) as said:
        return dict(_tables(iter(said)))


def _tables(lines: Iterator[bytes]) -> Iterator[tuple[str, Any]]:
    sequences = []
    for line in lines:
        if line.startswith(BEGINS):
            name = line.split()[1].decode().removeprefix("public.")
            yield name, checksums.digest(iter(lambda: next(lines, ENDS).rstrip(b"\n"), ENDS))
        elif line.startswith(SEQUENCE):
            sequences.append(line)
    yield "(sequences)", checksums.digest(sequences)


def load(engine: Runtime, name: str, file: Path) -> None:
    """Load a dump beside the live database.

    Raises StackError where it cannot be loaded; the live one is not touched.
    """
    make_empty(engine, name, "loaded")
    options = ("--no-owner", "--no-acl", f"--role={OWNERS[name]}", "--exit-on-error")
    with file.open("rb") as source:
        runner.run(tool(engine, "pg_restore", f"--dbname={name}_loaded", *options), source=source)


def switch(engine: Runtime, *, back: bool = False) -> None:
    """Put the loaded databases in the place of the live ones, or back; all or nothing.

    Whoever is connected is cut off. Raises StackError, with nothing changed, where it cannot be.
    """
    away, here = ("loaded", "before") if back else ("before", "loaded")
    every = ", ".join(f"'{name}', '{name}_{here}'" for name in NAMES)
    statements = "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity "
    statements += f"WHERE datname IN ({every}) AND pid <> pg_backend_pid();"
    for name in NAMES:
        statements += f"ALTER DATABASE {name} RENAME TO {name}_{away};"
        statements += f"ALTER DATABASE {name}_{here} RENAME TO {name};"
    for tried in range(1, TRIES + 1):
        try:
            ask(engine, statements)
            return
        except StackError:
            if tried == TRIES:
                raise


def forget(engine: Runtime, which: str) -> None:
    """Drop what stands beside the live databases, where it is there: `loaded` or `before`."""
    for name in NAMES:
        ask(engine, f"DROP DATABASE IF EXISTS {name}_{which} WITH (FORCE)")
