"""Who may open which database, and what Redis says to whom."""

import json
import re

import pytest

from tests.e2e import doors

PASSWORDS = {
    "postgres": "POSTGRES_PASSWORD",
    "airflow": "AIRFLOW_DB_PASSWORD",
    "mlflow": "MLFLOW_DB_PASSWORD",
    "status": "STATUS_PASSWORD",
}
# Which databases a role may open; the superuser all that take connections.
OPENS = {"airflow": {"airflow"}, "mlflow": {"mlflow", "mlflow_auth"}, "status": {"airflow"}}
FORBIDDEN = (
    "COPY (SELECT 1) TO PROGRAM 'true'",
    "SELECT pg_read_file('/etc/passwd')",
    "SELECT pg_ls_dir('.')",
    "SELECT rolpassword FROM pg_authid",
    "CREATE ROLE mine LOGIN",
    "CREATE DATABASE mine",
    "ALTER SYSTEM SET log_statement = 'all'",
    "SET ROLE postgres",
    "ALTER ROLE postgres PASSWORD ''",
)
ONLY_READS = (
    "CREATE TEMPORARY TABLE mine (a int)",
    "CREATE TABLE mine (a int)",
    "DELETE FROM import_error",
    "BEGIN READ WRITE; DELETE FROM job",
    "BEGIN READ WRITE; UPDATE dag SET is_paused = true",
    "BEGIN READ WRITE; DELETE FROM dag_run",
    "BEGIN READ WRITE; TRUNCATE job",
    "SELECT val FROM variable",
    "SELECT * FROM connection",
    "SELECT password, extra FROM connection",
    "SELECT password FROM ab_user",
    "SELECT value FROM xcom",
    "SELECT conf FROM dag_run",
    "SELECT data FROM serialized_dag",
    "SELECT event FROM log",
)
# Where the status page runs: each asked as [role, password, database, statement].
POSTGRES = """
import asyncio, asyncpg, json, os, sys
from urllib.parse import parse_qs, urlsplit
address = urlsplit(os.environ["DATABASE_URL"])
host = address.hostname or parse_qs(address.query)["host"][0]
async def answer(role, password, database, statement):
    who = {"user": role, "password": password, "database": database}
    try:
        opened = await asyncpg.connect(host=host, timeout=30, **who)
    except asyncpg.PostgresError as error:
        return type(error).__name__
    try:
        if statement.startswith("BEGIN"):
            return await opened.execute(statement)
        return [list(map(str, row)) for row in await opened.fetch(statement)]
    except asyncpg.PostgresError as error:
        return type(error).__name__
    finally:
        await opened.close()
async def answers():
    return [await answer(*one) for one in json.loads(ASKED)]
print(json.dumps(asyncio.run(answers())))
"""
REFUSED = ("InsufficientPrivilegeError", "ReadOnlySQLTransactionError")


@pytest.fixture(scope="module")
def postgres(stack):
    """Asks PostgreSQL [role, password, database, statement] each; rows, or the error's name."""

    def ask(*asked):
        code = f"ASKED = {json.dumps(asked)!r}\n{POSTGRES}"
        return json.loads(doors.told(doors.start_inside(stack, "status", code)))

    return ask


def password(stack, role):
    return stack.setting(PASSWORDS[role])


@pytest.fixture(scope="module")
def databases(stack, postgres):
    every = "SELECT datname FROM pg_database"
    (rows,) = postgres(["postgres", password(stack, "postgres"), "postgres", every])
    return {name for (name,) in rows}


@pytest.mark.parametrize("wrong", ["", "wrong"])
def test_postgres_lets_in_nobody_without_the_right_password(postgres, databases, wrong):
    roles = [*PASSWORDS, "nobody"]
    said = postgres(*([role, wrong, name, "SELECT 1"] for role in roles for name in databases))
    # In one word for unknown roles and wrong passwords.
    assert set(said) == {"InvalidPasswordError"}


def test_each_role_opens_its_own_databases_and_no_other(stack, postgres, databases):
    assert databases >= {"airflow", "mlflow", "mlflow_auth", "postgres"}
    pairs = [(role, name) for role in OPENS for name in sorted(databases)]
    said = postgres(*([role, password(stack, role), name, "SELECT 1"] for role, name in pairs))
    opened = {pair for pair, answer in zip(pairs, said, strict=True) if answer == [["1"]]}
    assert opened == {(role, name) for role, names in OPENS.items() for name in names}


def test_no_role_of_a_service_reaches_beyond_its_tables(stack, postgres):
    pairs = [(role, statement) for role in OPENS for statement in FORBIDDEN]
    asked = [[role, password(stack, role), min(OPENS[role]), what] for role, what in pairs]
    said = dict(zip(pairs, postgres(*asked), strict=True))
    assert not {pair: answer for pair, answer in said.items() if answer not in REFUSED}


def test_the_status_page_s_role_reads_what_it_shows_writes_nothing_and_reads_no_secret(
    stack, postgres
):
    shown = "SELECT count(*) FROM job WHERE state = 'running'"
    asked = [["status", password(stack, "status"), "airflow", one] for one in (shown, *ONLY_READS)]
    [[[running]], *refused] = postgres(*asked)
    assert int(running) >= 3
    said = dict(zip(ONLY_READS, refused, strict=True))
    assert not {what: answer for what, answer in said.items() if answer not in REFUSED}


def test_who_would_look_for_work_is_told_of_it(stack, postgres):
    query = "SELECT query FROM pg_stat_activity WHERE query LIKE 'LISTEN %' ORDER BY query"
    (said,) = postgres(["airflow", password(stack, "airflow"), "airflow", query])
    assert said == [["LISTEN dag_processor"], ["LISTEN scheduler"], ["LISTEN triggerer"]]


# Every command that Redis knows, with as many arguments as it asks for, by who did not log in.
REDIS = """
import json, redis
def raw(*command, login=()):
    # Without the greetings of a client, which would be refused already.
    silent = {"protocol": 2, "redis_connect_func": lambda made: made._parser.on_connect(made)}
    opened = redis.Connection(host="redis", socket_timeout=30, **silent)
    opened.connect()
    try:
        if login:
            opened.send_command("AUTH", *login)
            opened.read_response()
        opened.send_command(*command)
        return opened.read_response()
    except redis.RedisError as error:
        return str(error)
    finally:
        opened.disconnect()
def commands(found):
    for name, arity, *more in found:
        if more[7]:
            yield from commands(more[7])
        else:
            words = name.decode().split("|")
            yield words + ["x"] * (abs(arity) - len(words))
def text(answer):
    return answer.decode() if isinstance(answer, bytes) else str(answer)
told = {" ".join(each): text(raw(*each)) for each in commands(raw("COMMAND", login=[PASSWORD]))}
users = [text(line) for line in raw("ACL", "LIST", login=[PASSWORD])]
wrong = [text(raw("PING", login=who)) for who in (["wrong"], ["nobody", "x"], ["status", "wrong"])]
print(json.dumps([told, users, wrong]))
"""
USERS = (
    "user default on # ~* &* +@all",
    "user status on # %R~default %R~unacked resetchannels -@all +ping +info +client|list +llen"
    " +hlen +multi +exec",
)


def test_redis_asks_everyone_for_a_password_before_anything(stack, engine):
    if engine != "docker":
        pytest.skip("without Docker there is no Redis")
    code = f"PASSWORD = {stack.setting('REDIS_PASSWORD')!r}\n{REDIS}"
    told, users, wrong = json.loads(doors.told(doors.start_inside(stack, "status", code)))
    assert len(told) > 300
    # DEBUG and MODULE are switched off, for everyone.
    refused = re.compile("Authentication required|command not allowed")
    asked = {each for each, answer in told.items() if not refused.search(answer)}
    assert {each.split()[0] for each in asked} == {"auth", "hello", "quit", "reset"}
    assert all("WRONGPASS" in each or "invalid username" in each for each in wrong), wrong
    # Passwords stand there as hashes; `nopass` would be a word more.
    shown = [re.sub(r"#\w+", "#", user).replace("sanitize-payload ", "") for user in users]
    assert list(map(set, map(str.split, shown))) == list(map(set, map(str.split, USERS)))
