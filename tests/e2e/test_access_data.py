"""Test the permissions of PostgreSQL's roles and Redis's users."""

import json
import re

import pytest

from tests.e2e import access

PASSWORDS = {
    "postgres": "POSTGRES_PASSWORD",
    "airflow": "AIRFLOW_DB_PASSWORD",
    "mlflow": "MLFLOW_DB_PASSWORD",
    "status": "STATUS_PASSWORD",
}
# The databases that each role may connect to. The superuser may connect to all.
DATABASES = {"airflow": {"airflow"}, "mlflow": {"mlflow", "mlflow_auth"}, "status": {"airflow"}}
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
FORBIDDEN_TO_STATUS = (
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
    "SELECT next_kwargs FROM task_instance",
    "SELECT data FROM serialized_dag",
    "SELECT event FROM log",
)
# Runs where the status page runs. Each query is [role, password, database, statement].
POSTGRES = """
import asyncio, asyncpg, json, os, sys
from urllib.parse import parse_qs, urlsplit
address = urlsplit(os.environ["DATABASE_URL"])
host = address.hostname or parse_qs(address.query)["host"][0]
async def answer(role, password, database, statement):
    account = {"user": role, "password": password, "database": database}
    try:
        connection = await asyncpg.connect(host=host, timeout=30, **account)
    except asyncpg.PostgresError as error:
        return type(error).__name__
    try:
        if statement.startswith("BEGIN"):
            return await connection.execute(statement)
        return [list(map(str, row)) for row in await connection.fetch(statement)]
    except asyncpg.PostgresError as error:
        return type(error).__name__
    finally:
        await connection.close()
async def answers():
    return [await answer(*query) for query in json.loads(QUERIES)]
print(json.dumps(asyncio.run(answers())))
"""
REFUSED = ("InsufficientPrivilegeError", "ReadOnlySQLTransactionError")


@pytest.fixture(scope="module")
def postgres(stack):
    """Return a function that sends queries to PostgreSQL.

    A query is [role, password, database, statement]. Its result is rows or the name of an error.
    """

    def send(*queries):
        code = f"QUERIES = {json.dumps(queries)!r}\n{POSTGRES}"
        return json.loads(access.output_of(access.start_python(stack, "status", code)))

    return send


def password(stack, role):
    return stack.setting(PASSWORDS[role])


@pytest.fixture(scope="module")
def databases(stack, postgres):
    statement = "SELECT datname FROM pg_database"
    (rows,) = postgres(["postgres", password(stack, "postgres"), "postgres", statement])
    return {name for (name,) in rows}


@pytest.mark.parametrize("wrong", ["", "wrong"])
def test_postgres_wrong_password_is_refused(postgres, databases, wrong):
    roles = [*PASSWORDS, "nobody"]
    answers = postgres(*([role, wrong, name, "SELECT 1"] for role in roles for name in databases))
    # The error is the same for unknown roles and wrong passwords.
    assert set(answers) == {"InvalidPasswordError"}


def test_postgres_role_connects_only_to_its_databases(stack, postgres, databases):
    assert databases >= {"airflow", "mlflow", "mlflow_auth", "postgres"}
    pairs = [(role, name) for role in DATABASES for name in sorted(databases)]
    answers = postgres(*([role, password(stack, role), name, "SELECT 1"] for role, name in pairs))
    connected = {pair for pair, answer in zip(pairs, answers, strict=True) if answer == [["1"]]}
    assert connected == {(role, name) for role, names in DATABASES.items() for name in names}


def test_postgres_service_role_has_no_administrator_rights(stack, postgres):
    pairs = [(role, statement) for role in DATABASES for statement in FORBIDDEN]
    queries = [[role, password(stack, role), min(DATABASES[role]), sql] for role, sql in pairs]
    answers = dict(zip(pairs, postgres(*queries), strict=True))
    assert not {pair: answer for pair, answer in answers.items() if answer not in REFUSED}


def test_postgres_status_role_reads_no_secrets_and_writes_nothing(stack, postgres):
    statements = ("SELECT count(*) FROM job WHERE state = 'running'", *FORBIDDEN_TO_STATUS)
    queries = [["status", password(stack, "status"), "airflow", sql] for sql in statements]
    [[[running]], *refusals] = postgres(*queries)
    assert int(running) >= 3
    answers = dict(zip(FORBIDDEN_TO_STATUS, refusals, strict=True))
    assert not {sql: answer for sql, answer in answers.items() if answer not in REFUSED}


def test_postgres_three_airflow_services_listen_for_notifications(stack, postgres):
    query = "SELECT query FROM pg_stat_activity WHERE query LIKE 'LISTEN %' ORDER BY query"
    (rows,) = postgres(["airflow", password(stack, "airflow"), "airflow", query])
    assert rows == [["LISTEN dag_processor"], ["LISTEN scheduler"], ["LISTEN triggerer"]]


# Sends every command of Redis with its minimum number of arguments, without login.
REDIS = """
import json, redis
def send(*command, login=()):
    # Skip the commands that a client sends first, because Redis would refuse them already.
    silent = {"protocol": 2, "redis_connect_func": lambda new: new._parser.on_connect(new)}
    connection = redis.Connection(host="redis", socket_timeout=30, **silent)
    connection.connect()
    try:
        if login:
            connection.send_command("AUTH", *login)
            connection.read_response()
        connection.send_command(*command)
        return connection.read_response()
    except redis.RedisError as error:
        return str(error)
    finally:
        connection.disconnect()
def commands(rows):
    for name, arity, *more in rows:
        if more[7]:
            yield from commands(more[7])
        else:
            words = name.decode().split("|")
            yield words + ["x"] * (abs(arity) - len(words))
def text(answer):
    return answer.decode() if isinstance(answer, bytes) else str(answer)
rows = send("COMMAND", login=[PASSWORD])
logins = (["wrong"], ["nobody", "x"], ["status", "wrong"])
answers = {" ".join(words): text(send(*words)) for words in commands(rows)}
users = [text(line) for line in send("ACL", "LIST", login=[PASSWORD])]
wrong_logins = [text(send("PING", login=login)) for login in logins]
print(json.dumps([answers, users, wrong_logins]))
"""
USERS = (
    "user default on # ~* &* +@all",
    "user status on # %R~default %R~unacked %R~unacked_index resetchannels -@all +ping +info"
    " +client|list +llen +hlen +zcount +multi +exec",
)


def test_redis_requires_password_for_every_command(stack, engine):
    if engine != "docker":
        pytest.skip("The standalone engine has no Redis.")
    code = f"PASSWORD = {stack.setting('REDIS_PASSWORD')!r}\n{REDIS}"
    output = access.output_of(access.start_python(stack, "status", code))
    answers, users, wrong_logins = json.loads(output)
    assert len(answers) > 300
    # "not allowed" is the answer to DEBUG and MODULE, which are disabled for all users.
    refused = re.compile("Authentication required|command not allowed")
    accepted = {command for command, answer in answers.items() if not refused.search(answer)}
    assert {command.split()[0] for command in accepted} == {"auth", "hello", "quit", "reset"}
    assert all("WRONGPASS" in a or "invalid username" in a for a in wrong_logins), wrong_logins
    # The list shows passwords as hashes. `nopass` would be an additional word.
    rules = [re.sub(r"#\w+", "#", user).replace("sanitize-payload ", "") for user in users]
    assert list(map(set, map(str.split, rules))) == list(map(set, map(str.split, USERS)))
