"""PostgreSQL connections from SQLAlchemy URLs, without importing SQLAlchemy."""

from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit


def connect(url: str, **options: str) -> Any:
    """Return a psycopg2 connection for a SQLAlchemy URL.

    `options` are libpq parameters, such as `dbname`, that replace those of the URL. Raises
    psycopg2.Error.
    """
    import psycopg2

    parts = urlsplit(url)
    query = {name: values[-1] for name, values in parse_qs(parts.query).items()}
    parameters = {
        "host": parts.hostname or "",
        "port": str(parts.port or ""),
        "user": unquote(parts.username or ""),
        "password": unquote(parts.password or ""),
        "dbname": parts.path.lstrip("/"),
        **query,
        **options,
    }
    return psycopg2.connect(**{name: value for name, value in parameters.items() if value})


def rows(cursor: Any, query: str, *values: object) -> list[tuple[Any, ...]]:
    """Return the rows of a query; an empty list if one of its tables or columns is missing."""
    import psycopg2

    try:
        cursor.execute(query, values or None)
        return list(cursor.fetchall())
    except (psycopg2.errors.UndefinedTable, psycopg2.errors.UndefinedColumn):
        return []
