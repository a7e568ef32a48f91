"""PostgreSQL's tools without a server: a database is a file of a folder, a dump its copy.

python fake_postgres.py FOLDER TOOL ARGUMENTS…
"""

import re
import sys
from pathlib import Path

folder, tool, *arguments = sys.argv[1:]
databases = Path(folder)


def psql(statements: str) -> None:
    for statement in statements.split(";"):
        if found := re.search(r"CREATE DATABASE (\w+)", statement):
            (databases / found[1]).write_text("")
        elif found := re.search(r"DROP DATABASE IF EXISTS (\w+)", statement):
            (databases / found[1]).unlink(missing_ok=True)
        elif found := re.search(r"ALTER DATABASE (\w+) RENAME TO (\w+)", statement):
            if (databases / found[2]).exists():
                sys.exit(f"{found[2]} exists")
            (databases / found[1]).rename(databases / found[2])
        elif "server_version" in statement:
            print("16.14 (Debian)")
        elif "datname FROM pg_database" in statement:
            print("\n".join(path.name for path in databases.iterdir()))


def option(name: str) -> str | None:
    return next((a.partition("=")[2] for a in arguments if a.startswith(f"{name}=")), None)


if tool == "psql":
    psql(arguments[-1])
elif tool == "bash":
    # Dumped and read back in one go.
    print((databases / arguments[-1]).read_text(), end="")
elif tool == "pg_dump":
    print((databases / arguments[-1]).read_text(), end="")
elif name := option("--dbname"):
    text = sys.stdin.read()
    if "cannot be loaded" in text:
        sys.exit("pg_restore: error: could not execute query")
    # As a server that loses a row on its way.
    (databases / name).write_text(text.replace("lost\n", ""))
else:
    print(sys.stdin.read(), end="")
