"""Each secret is given another value under a stack that works: nothing is lost, the old is refused.

What a backup of before holds can be put back, and a rotation that is killed is finished by `up`.
"""

import json
import re
from signal import SIGKILL

import pytest
import requests

from orchestration.settings.model import SECRETS
from tests.e2e.clone import until

FERNET, ADMIN = "AIRFLOW_FERNET_KEY", "_AIRFLOW_WWW_USER_PASSWORD"
ROLES = {
    "POSTGRES_PASSWORD": "postgres",  # pragma: allowlist secret
    "AIRFLOW_DB_PASSWORD": "airflow",  # pragma: allowlist secret
    "MLFLOW_DB_PASSWORD": "mlflow",  # pragma: allowlist secret
    "STATUS_PASSWORD": "status",  # pragma: allowlist secret
}
# More than a hundred: so many Airflow's own command takes at a time.
VARIABLES = 230
# Where Airflow's services run: whether a role is let in, and which keys open what is encrypted.
ENTER = """
import os, psycopg2
role, password = os.environ["ROLE"], os.environ["TRIED"]
database = "mlflow" if role == "mlflow" else "airflow"
psycopg2.connect(host=os.environ["PLACE"], user=role, password=password, dbname=database)
"""
OPEN = """
import os, psycopg2
from cryptography.fernet import Fernet, InvalidToken
found = psycopg2.connect(host=os.environ["PLACE"], user="airflow",
                         password=os.environ["TRIED"], dbname="airflow").cursor()
found.execute("SELECT val FROM variable UNION ALL SELECT password FROM connection "
              "UNION ALL SELECT extra FROM connection UNION ALL SELECT kwargs FROM trigger")
def opens(token):
    try:
        return bool(Fernet(os.environ["KEY"]).decrypt(token.encode()))
    except InvalidToken:
        return False
tokens = [row[0] for row in found if row[0]]
print(sum(map(opens, tokens)), len(tokens))
"""


def where_airflow_runs(stack, code, **given):
    """Run Python with the packages of Airflow's services and a way to the database."""
    if stack.engine == "docker":
        options = [word for name, value in given.items() for word in ("-e", f"{name}={value}")]
        container = stack.container("airflow-scheduler")
        command = ("docker", "exec", "-e", "PLACE=postgres", *options, container)
        return stack.run(*command, "python", "-c", code)
    python = stack.state_folder() / "envs/airflow/bin/python"
    place = str(stack.state_folder() / "sockets")
    return stack.run(str(python), "-c", code, PLACE=place, **given)


def opened(stack, key):
    """How many of all encrypted values a key opens, and how many there are."""
    tried = stack.setting("AIRFLOW_DB_PASSWORD")
    done = where_airflow_runs(stack, OPEN, KEY=key, TRIED=tried)
    assert done.returncode == 0, done.stderr
    return tuple(map(int, done.stdout.split()))


def login(stack, password):
    given = {"username": "airflow", "password": password}
    address = stack.url("AIRFLOW_PORT") + "/auth/token"
    return requests.post(address, json=given, timeout=30).status_code


def ask(stack, method, path, document):
    address = stack.url("AIRFLOW_PORT") + path
    answer = stack.session().request(method, address, json=document, timeout=120)
    assert answer.ok, answer.text
    return answer.json()


@pytest.fixture(scope="module")
def lived_in(stack, journal):
    """A stack with a connection and many variables."""
    given = {"password": "s3cret", "extra": '{"token": "t0ken"}'}  # pragma: allowlist secret
    safe = {"connection_id": "safe", "conn_type": "http", **given}
    ask(stack, "POST", "/api/v2/connections", safe)
    many = [{"key": f"v{number}", "value": f"of {number}"} for number in range(VARIABLES)]
    create = {"actions": [{"action": "create", "entities": many}]}
    ask(stack, "PATCH", "/api/v2/variables", create)
    return stack


@pytest.fixture(scope="module")
def made_before(lived_in, phrase):
    """A backup with its keys, of before any rotation."""
    said = lived_in.well("inv", "backup", "--passphrase-file", phrase)
    return lived_in.folder / re.search(r"backups/\d{8}T\d{6}Z", said)[0]


def nothing_is_lost(stack):
    said = stack.well("inv", "airflow", "--", "connections", "get", "safe", "--output", "json")
    [safe] = json.loads(said)
    assert safe["password"] == "s3cret"  # pragma: allowlist secret
    assert "t0ken" in str(safe)
    found = stack.airflow("/api/v2/variables?limit=100&order_by=key")
    assert found["total_entries"] == VARIABLES
    assert all(one["value"] == f"of {one['key'][1:]}" for one in found["variables"])


def refused(stack, name, value):
    """Whether what a secret guards refuses this value; the stack's own must be let in."""
    if name == FERNET:
        return opened(stack, value)[0] == 0
    if name == ADMIN:
        return login(stack, value) == 401
    if name in ROLES:
        done = where_airflow_runs(stack, ENTER, ROLE=ROLES[name], TRIED=value)
        return done.returncode != 0 and "password authentication failed" in done.stderr
    if name == "REDIS_PASSWORD" and stack.engine == "docker":
        given = ("docker", "exec", "-e", f"REDISCLI_AUTH={value}", stack.container("redis"))
        return "PONG" not in stack.run(*given, "redis-cli", "ping").stdout
    return value not in held_by_services(stack)


def held_by_services(stack):
    """Everything that the services were started with."""
    if stack.engine == "docker":
        ids = stack.containers("--quiet").split()
        return stack.well("docker", "inspect", "--format", "{{.Config.Env}}", *ids)
    return "".join(str(process.environ()) for process in stack.processes())


def look_at(stack, before, names):
    """What must hold after a rotation of these."""
    after = stack.settings()
    assert {name for name in SECRETS if before[name] != after[name]} == set(names)
    for name in names:
        assert refused(stack, name, before[name]), name
        if name in (FERNET, ADMIN, *ROLES):
            assert not refused(stack, name, after[name]), name
    key = stack.setting(FERNET)
    number, of = opened(stack, key)
    assert number == of >= VARIABLES
    nothing_is_lost(stack)


@pytest.mark.parametrize(
    "names",
    [
        [FERNET],
        ["AIRFLOW_JWT_SECRET", "AIRFLOW_WEB_SECRET_KEY"],
        ["POSTGRES_PASSWORD", "AIRFLOW_DB_PASSWORD", "MLFLOW_DB_PASSWORD"],
        ["REDIS_PASSWORD", "STATUS_PASSWORD"],
        [ADMIN],
    ],
    ids=lambda names: names[0],
)
def test_a_secret_is_changed_while_a_run_goes_on_which_ends_well(lived_in, made_before, names):
    before = lived_in.settings()
    of_before = lived_in.session()
    conf = {"logical_date": None, "conf": {"seconds": 40}}
    run = ask(lived_in, "POST", "/api/v2/dags/journal/dagRuns", conf)["dag_run_id"]
    path = f"/api/v2/dags/journal/dagRuns/{run}/taskInstances"

    def states():
        return [task["state"] for task in lived_in.airflow(path)["task_instances"]]

    until(lambda: states() == ["running"], 120)
    options = [word for name in names for word in ("--rotate", name)]
    said = lived_in.well("inv", "secrets", *options)
    assert f"{', '.join(names)}: changed and proven" in said
    assert not [n for n in names if before[n] in said or lived_in.setting(n) in said]
    until(lambda: states() == ["success"], 120)
    [task] = lived_in.airflow(path)["task_instances"]
    assert task["try_number"] == 1
    if "AIRFLOW_JWT_SECRET" in names:
        address = lived_in.url("AIRFLOW_PORT") + "/api/v2/variables"
        assert of_before.get(address, timeout=30).status_code in (401, 403)
    look_at(lived_in, before, names)


def test_afterwards_all_that_goes_on_with_the_data_works(lived_in, phrase):
    assert lived_in.health()["status"] == "healthy"
    lived_in.well("inv", "secrets")
    lived_in.well("inv", "backup", "--passphrase-file", phrase)
    assert "drill passed" in lived_in.well("inv", "drill")
    lived_in.well("inv", "doctor")


@pytest.mark.parametrize("seconds", [0, 4, 15])
def test_killed_in_its_middle_it_is_finished_by_up(lived_in, seconds):
    before = lived_in.settings()
    rotating = lived_in.start("inv", "secrets", "--rotate", "all")
    until((lived_in.folder / ".env.rotating").exists, 300)
    try:
        rotating.wait(seconds)
    except Exception:
        rotating.send_signal(SIGKILL)
    rotating.communicate()
    assert (lived_in.folder / ".env.rotating").exists()
    lived_in.well("inv", "up")
    assert not (lived_in.folder / ".env.rotating").exists()
    look_at(lived_in, before, [*SECRETS])


def test_a_backup_of_before_all_this_is_put_back_and_its_key_is_rotated_out(lived_in, made_before):
    former = lived_in.setting("AIRFLOW_FORMER_FERNET_KEYS").split(",")
    assert all(former)
    assert not [key for key in former if key in held_by_services(lived_in)]
    lived_in.well("inv", "restore", str(made_before), "--yes")
    nothing_is_lost(lived_in)
    lived_in.well("inv", "secrets", "--rotate", FERNET)
    number, of = opened(lived_in, lived_in.setting(FERNET))
    assert number == of
    assert "," not in lived_in.setting(FERNET)


def test_onto_an_empty_stack_it_brings_its_keys_and_not_the_former_passwords(
    lived_in, made_before, phrase
):
    lived_in.well("inv", "down", "--volumes", "--yes")
    (lived_in.folder / ".env").unlink()
    keys = made_before.with_name(f"{made_before.name}.keys.age")
    options = ("--keys", str(keys), "--passphrase-file", phrase, "--yes")
    lived_in.well("inv", "restore", str(made_before), *options)
    nothing_is_lost(lived_in)
