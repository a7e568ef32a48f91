"""Imitate PostgreSQL's tools without a server: a database is a file, and a dump is its copy.

python fake_postgres.py FOLDER TOOL ARGUMENTS…
"""

import re
import sys
from pathlib import Path

folder, tool, *arguments = sys.argv[1:]
databases = Path(folder)


def psql(statements: str) -> None:
    for statement in statements.split(";"):
        if match := re.search(r"CREATE DATABASE (\w+)", statement):
            (databases / match[1]).write_text("")
        elif match := re.search(r"DROP DATABASE IF EXISTS (\w+)", statement):
            (databases / match[1]).unlink(missing_ok=True)
        elif match := re.search(r"ALTER DATABASE (\w+) RENAME TO (\w+)", statement):
            if (databases / match[2]).exists():
                sys.exit(f"{match[2]} exists")
            (databases / match[1]).rename(databases / match[2])
        elif "server_version" in statement:
            print("16.14 (Debian)")
        elif "datname FROM pg_database" in statement:
            print("\n".join(path.name for path in databases.iterdir()))


def option(name: str) -> str | None:
    return next((a.partition("=")[2] for a in arguments if a.startswith(f"{name}=")), None)


if tool == "psql":
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
