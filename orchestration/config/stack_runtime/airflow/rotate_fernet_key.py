"""New passwords for PostgreSQL's roles, and what Airflow encrypted encrypted anew: all or nothing.

Reads JSON on standard input, because arguments and environments can be seen by others:
`{"superuser": [PASSWORD, …], "roles": {ROLE: PASSWORD}, "keys": [NEW, OLD, …]}`. Of the superuser's
passwords the first that is let in is taken: one that was killed may have changed it. Run again it
changes nothing more.

Airflow's own `rotate-fernet-key` of 3.0.1 is not asked: it passes over rows where there are more
than a hundred (OFFSET without an order, over rows that it moves by writing them), fails at a
trigger that is not encrypted, and does not look at task results (of tables with credentials).
"""

import json
import os
import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import closing
from typing import Any

import psycopg2
from psycopg2.extensions import connection as Connection
from psycopg2.extensions import encrypt_password
from psycopg2.sql import SQL, Identifier, Literal

from stack_runtime.shared.wait_for_server import wait_for_server

# A version byte and four zeros of a time before the year 2106, then at least 68 bytes more.
TOKEN = re.compile(r"gAAAAA[A-Za-z0-9_-]{92,}={0,2}")
KINDS = ("text", "character varying", "json", "jsonb")
COLUMNS = """
SELECT table_name, column_name, data_type FROM information_schema.columns
JOIN information_schema.tables USING (table_schema, table_name)
WHERE table_schema = 'public' AND table_type = 'BASE TABLE' AND data_type IN %s
ORDER BY table_name, column_name
"""


class Keys:
    """Fernet keys of which the first encrypts and all others are to be done with."""

    def __init__(self, keys: Sequence[str]) -> None:
        from cryptography.fernet import Fernet

        self.all = [Fernet(key.encode()) for key in keys]

    def renewed(self, text: str) -> str:
        """The text with every token in it that an old key opens encrypted anew.

        Those inside a token too. What no key opens, and what is of the first already, stays.
        """
        return TOKEN.sub(lambda found: self._renewed_token(found[0]), text)

    def _renewed_token(self, token: str) -> str:
        for number, key in enumerate(self.all):
            if (plain := _opened(key, token)) is None:
                continue
            inside = self.renewed(plain)
            if number == 0 and inside == plain:
                return token
            return str(self.all[0].encrypt(inside.encode(errors="surrogateescape")).decode())
        return token


def _opened(key: Any, token: str) -> str | None:
    from cryptography.fernet import InvalidToken

    try:
        return str(key.decrypt(token.encode()).decode(errors="surrogateescape"))
    except InvalidToken:
        return None


def places(database: Connection) -> Iterator[tuple[str, str, str]]:
    """Table, column and kind of everything that may hold a token."""
    with database.cursor() as cursor:
        cursor.execute(COLUMNS, (KINDS,))
        yield from cursor.fetchall()


def stale(database: Connection, keys: Keys, table: str, column: str) -> list[tuple[str, str]]:
    """Where a row is, and what should stand there, for each that an old key opens."""
    query = SQL("SELECT ctid::text, {0}::text FROM {1} WHERE {0}::text LIKE {2}")
    with database.cursor() as cursor:
        asked = query.format(Identifier(column), Identifier(table), Literal("%gAAAAA%"))
        cursor.execute(asked)
        found = [(row, text, keys.renewed(text)) for row, text in cursor]
    return [(row, new) for row, text, new in found if new != text]


def encrypt_anew(database: Connection, keys: Keys) -> int:
    """Leave nothing that an old key opens; how many values were written anew.

    Raises ValueError, for nothing to be kept, where something is left.
    """
    number = 0
    for table, column, kind in list(places(database)):
        change = SQL("UPDATE {} SET {} = %s::{} WHERE ctid = %s::tid").format(
            Identifier(table), Identifier(column), SQL(kind)
        )
        with database.cursor() as cursor:
            for row, new in stale(database, keys, table, column):
                cursor.execute(change, (new, row))
                number += cursor.rowcount
    for table, column, _ in list(places(database)):
        if left := stale(database, keys, table, column):
            raise ValueError(f"{len(left)} values of {table}.{column} are still of an old key")
    return number


def set_passwords(database: Connection, passwords: dict[str, str]) -> None:
    """Give roles their passwords; hashed here, because the server may log a statement."""
    with database.cursor() as cursor:
        for role, password in passwords.items():
            hashed = encrypt_password(password, role, database, "scram-sha-256")
            change = SQL("ALTER ROLE {} PASSWORD {}").format(Identifier(role), Literal(hashed))
            cursor.execute(change)


def as_superuser(where: dict[str, Any], passwords: Sequence[str]) -> Connection:
    """A connection with the first of these passwords that is let in."""
    for password in passwords[:-1]:
        try:
            return psycopg2.connect(**where, user="postgres", password=password)
        except psycopg2.OperationalError:
            continue
    return psycopg2.connect(**where, user="postgres", password=passwords[-1])


def main() -> None:
    """Do what standard input asks for, in one transaction; print what was done."""
    from sqlalchemy.engine import make_url

    asked = json.load(sys.stdin)
    address = os.environ["AIRFLOW__DATABASE__SQL_ALCHEMY_CONN"]
    wait_for_server(address)
    url = make_url(address)
    where = {"host": url.host or url.query.get("host"), "port": url.port, "dbname": url.database}
    with closing(as_superuser(where, asked["superuser"])) as database, database:
        set_passwords(database, asked["roles"])
        number = encrypt_anew(database, Keys(asked["keys"])) if asked["keys"] else 0
    print(json.dumps({"encrypted_anew": number}))


if __name__ == "__main__":
    try:
        main()
    except (ValueError, psycopg2.Error) as error:
        sys.exit(f"{type(error).__name__}: {error}")
