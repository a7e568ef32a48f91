"""What a one-shot has brought a database to, noted at the database itself, so that the next start
need not import Airflow or MLflow to see that nothing is to be done.

The note is the database's comment: a database that was restored or made anew has none, and one that
was renamed keeps its own. It holds a digest of what the result was made from, nothing to read.
"""

import hashlib
import hmac
import re
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

PREFIX = "initialised "
# Packages whose versions a schema or an account depends on; what a person adds for DAGs is none.
MAKES_SCHEMAS = re.compile(r"airflow|mlflow|alembic|sqlalchemy|appbuilder", re.IGNORECASE)
NOTE = "SELECT shobj_description(oid, 'pg_database') FROM pg_database WHERE datname = %s"


def digest(found: Iterable[object], *, key: str) -> str:
    """A digest of packages that make schemas, of the scripts beside this, and of what was `found`.

    With a secret as key it may depend on others: nobody can try what it was made from.
    """
    made_of = [*_packages(), *_scripts(), *map(repr, found)]
    return hmac.new(key.encode(), "\n".join(made_of).encode(), hashlib.sha256).hexdigest()


def _packages() -> Iterable[str]:
    # Their names hold their versions.
    there = (path.name for place in sys.path for path in Path(place).glob("*.dist-info"))
    return sorted(name for name in there if MAKES_SCHEMAS.search(name))


def _scripts() -> Iterable[str]:
    files = sorted(Path(__file__).parent.glob("*.py"))
    return [hashlib.sha256(path.read_bytes()).hexdigest() for path in files]


def noted(cursor: Any, database: str) -> str:
    """The digest that stands at a database; blank where there is none."""
    cursor.execute(NOTE, (database,))
    row = cursor.fetchone()
    text = (row and row[0]) or ""
    return text.removeprefix(PREFIX) if text.startswith(PREFIX) else ""


def note(cursor: Any, database: str, made_of: str) -> None:
    """Write it there; only the database's owner can."""
    cursor.execute(f'COMMENT ON DATABASE "{database}" IS %s', (f"{PREFIX}{made_of}",))


def opened(uri: str, **other: str) -> Any:
    """A connection of PostgreSQL's driver to what a SQLAlchemy address names, without SQLAlchemy.

    `other` values stand above it, as `dbname`. Raises psycopg2.Error.
    """
    import psycopg2

    parts = urlsplit(uri)
    given = {
        "host": parts.hostname or parse_qs(parts.query).get("host", [""])[0],
        "port": str(parts.port or ""),
        "user": unquote(parts.username or ""),
        "password": unquote(parts.password or ""),
        "dbname": parts.path.lstrip("/"),
        **other,
    }
    return psycopg2.connect(**{name: value for name, value in given.items() if value})


def answers(cursor: Any, query: str, *values: object) -> list[tuple[Any, ...]]:
    """The rows of a query; none where what it asks of is not there."""
    import psycopg2

    try:
        cursor.execute(query, values or None)
        return list(cursor.fetchall())
    except psycopg2.errors.UndefinedTable:
        return []
