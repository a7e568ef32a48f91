"""Imitate PostgreSQL's tools without a server: a database is a file, and a dump is its copy.

python fake_postgres.py FOLDER TOOL ARGUMENTS…
"""

import re
import sys
from collections.abc import Callable
from pathlib import Path

folder, tool, *arguments = sys.argv[1:]
databases = Path(folder)
# A file of the folder, if there is one, sets the free disk space.
FREE_KIB = (
    (databases.parent / "free_kib").read_text()
    if (databases.parent / "free_kib").exists()
    else 2**20
)


def create(name: str, template: str) -> None:
    source = databases / template
    (databases / name).write_text(source.read_text() if source.exists() else "")


def drop(name: str) -> None:
    (databases / name).unlink(missing_ok=True)


def rename(old: str, new: str) -> None:
    if (databases / new).exists():
        sys.exit(f"{new} exists")
    (databases / old).rename(databases / new)


def count() -> None:
    lines = (databases / str(option("--dbname"))).read_text().splitlines()
    print(sum(line.isdecimal() for line in lines))


STATEMENTS: dict[str, Callable[..., None]] = {
    r"CREATE DATABASE (\w+) .*TEMPLATE (\w+)": create,
    r"DROP DATABASE IF EXISTS (\w+)": drop,
    r"ALTER DATABASE (\w+) RENAME TO (\w+)": rename,
    "server_version": lambda: print("16.14 (Debian)"),
    "datname FROM pg_database": lambda: print("\n".join(p.name for p in databases.iterdir())),
    r"sum\(pg_database_size": lambda: print(2**20),
    r"count\(\*\)": count,
}


def psql(statements: str) -> None:
    for statement in statements.split(";"):
        for pattern, imitation in STATEMENTS.items():
            if match := re.search(pattern, statement):
                imitation(*match.groups())
                break


def option(name: str) -> str | None:
    return next((a.partition("=")[2] for a in arguments if a.startswith(f"{name}=")), None)


if tool == "sh":
    print(f"Filesystem 1024-blocks Used Available Capacity Mounted on\n/x 1 1 {FREE_KIB} 1% /")
elif tool == "psql":
    psql(arguments[-1])
elif tool == "bash":
    # The command dumps a database and reads the dump back.
    print((databases / arguments[-1]).read_text(), end="")
elif tool == "pg_dump":
    print((databases / arguments[-1]).read_text(), end="")
elif name := option("--dbname"):
    text = sys.stdin.read()
    if "cannot be loaded" in text:
        sys.exit("pg_restore: error: could not execute query")
    # Imitates a server that loses a row.
    (databases / name).write_text(text.replace("lost\n", ""))
else:
    print(sys.stdin.read(), end="")
