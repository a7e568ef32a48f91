"""PostgreSQL connections from SQLAlchemy URLs, without importing SQLAlchemy."""

from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit


def connect(url: str, **options: str) -> Any:
    """Return a psycopg2 connection to what a SQLAlchemy URL names.

    `options` are libpq parameters that replace those of the URL, such as `dbname`. Raises
    psycopg2.Error.
    """
    import psycopg2

    parts = urlsplit(url)
    query = {name: values[-1] for name, values in parse_qs(parts.query).items()}
    given = {
        "host": parts.hostname or "",
        "port": str(parts.port or ""),
        "user": unquote(parts.username or ""),
        "password": unquote(parts.password or ""),
        "dbname": parts.path.lstrip("/"),
        **query,
        **options,
    }
    return psycopg2.connect(**{name: value for name, value in given.items() if value})


def rows(cursor: Any, query: str, *values: object) -> list[tuple[Any, ...]]:
    """Return the rows of a query; none if a table or column that it names does not exist."""
    import psycopg2

    try:
        cursor.execute(query, values or None)
        return list(cursor.fetchall())
    except (psycopg2.errors.UndefinedTable, psycopg2.errors.UndefinedColumn):
        return []
