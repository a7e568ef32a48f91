"""Change passwords of PostgreSQL roles and re-encrypt Airflow's secrets in one transaction.

Reads JSON from standard input, because others can see arguments and environments:
`{"superuser": [PASSWORD, …], "roles": {ROLE: PASSWORD}, "keys": [NEW, OLD, …]}`. The first
superuser password that works is used, because an interrupted run may have changed it. Safe to run
again.

Airflow 3.0.1's own `rotate-fernet-key` is not used. It skips rows of tables with more than a
hundred (OFFSET without an order, while its writes move the rows). It fails at a trigger that is not
encrypted, and ignores task results (of tables with credentials).
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

# A version byte, four zero bytes of a time before the year 2106, then at least 68 more bytes.
TOKEN = re.compile(r"gAAAAA[A-Za-z0-9_-]{92,}={0,2}")
KINDS = ("text", "character varying", "json", "jsonb")
COLUMNS = """
SELECT table_name, column_name, data_type FROM information_schema.columns
JOIN information_schema.tables USING (table_schema, table_name)
WHERE table_schema = 'public' AND table_type = 'BASE TABLE' AND data_type IN %s
ORDER BY table_name, column_name
"""


class Keys:
    """Fernet keys: the first one encrypts, all others are being replaced."""

    def __init__(self, keys: Sequence[str]) -> None:
        from cryptography.fernet import Fernet

        self.all = [Fernet(key.encode()) for key in keys]

    def reencrypt(self, text: str) -> str:
        """Return the text with the tokens of old keys re-encrypted with the first key.

        Includes tokens inside tokens. Tokens of the first key or of unknown keys do not change.
        """
        return TOKEN.sub(lambda match: self._reencrypt_token(match[0]), text)

    def _reencrypt_token(self, token: str) -> str:
        for number, key in enumerate(self.all):
            if (plain := _decrypt(key, token)) is None:
                continue
            inside = self.reencrypt(plain)
            if number == 0 and inside == plain:
                return token
            return str(self.all[0].encrypt(inside.encode(errors="surrogateescape")).decode())
        return token


def _decrypt(key: Any, token: str) -> str | None:
    from cryptography.fernet import InvalidToken

    try:
        return str(key.decrypt(token.encode()).decode(errors="surrogateescape"))
    except InvalidToken:
        return None


def text_columns(database: Connection) -> Iterator[tuple[str, str, str]]:
    """Yield table, column and type of everything that may contain a token."""
    with database.cursor() as cursor:
        cursor.execute(COLUMNS, (KINDS,))
        yield from cursor.fetchall()


def stale(database: Connection, keys: Keys, table: str, column: str) -> list[tuple[str, str]]:
    """Return row location and new value for each value with a token of an old key."""
    query = SQL("SELECT ctid::text, {0}::text FROM {1} WHERE {0}::text LIKE {2}")
    with database.cursor() as cursor:
        cursor.execute(query.format(Identifier(column), Identifier(table), Literal("%gAAAAA%")))
        values = [(row, text, keys.reencrypt(text)) for row, text in cursor]
    return [(row, new) for row, text, new in values if new != text]


def reencrypt_all(database: Connection, keys: Keys) -> int:
    """Re-encrypt all values with a token of an old key, and return their number.

    Raises ValueError if such a value remains; the transaction is then rolled back.
    """
    number = 0
    for table, column, kind in list(text_columns(database)):
        statement = SQL("UPDATE {} SET {} = %s::{} WHERE ctid = %s::tid").format(
            Identifier(table), Identifier(column), SQL(kind)
        )
        with database.cursor() as cursor:
            for row, new in stale(database, keys, table, column):
                cursor.execute(statement, (new, row))
                number += cursor.rowcount
    for table, column, _ in list(text_columns(database)):
        if rest := stale(database, keys, table, column):
            raise ValueError(f"{len(rest)} values of {table}.{column} still use an old key")
    return number


def set_passwords(database: Connection, passwords: dict[str, str]) -> None:
    """Set passwords of roles, hashed here because the server may log the statement."""
    with database.cursor() as cursor:
        for role, password in passwords.items():
            hashed = encrypt_password(password, role, database, "scram-sha-256")
            statement = SQL("ALTER ROLE {} PASSWORD {}").format(Identifier(role), Literal(hashed))
            cursor.execute(statement)


def connect_as_superuser(server: dict[str, Any], passwords: Sequence[str]) -> Connection:
    """Return a connection with the first of these passwords that PostgreSQL accepts."""
    for password in passwords[:-1]:
        try:
            return psycopg2.connect(**server, user="postgres", password=password)
        except psycopg2.OperationalError:
            continue
    return psycopg2.connect(**server, user="postgres", password=passwords[-1])


def main() -> None:
    """Apply the request on standard input in one transaction, and print the result."""
    from sqlalchemy.engine import make_url

    request = json.load(sys.stdin)
    address = os.environ["AIRFLOW__DATABASE__SQL_ALCHEMY_CONN"]
    wait_for_server(address)
    url = make_url(address)
    server = {"host": url.host or url.query.get("host"), "port": url.port, "dbname": url.database}
    with closing(connect_as_superuser(server, request["superuser"])) as database, database:
        set_passwords(database, request["roles"])
        number = reencrypt_all(database, Keys(request["keys"])) if request["keys"] else 0
    print(json.dumps({"reencrypted": number}))


if __name__ == "__main__":
    try:
        main()
    except (ValueError, psycopg2.Error) as error:
        sys.exit(f"{type(error).__name__}: {error}")
