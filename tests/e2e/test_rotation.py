"""Rotate every secret while the stack works. No data is lost, and old values are refused.

Older backups can still be restored, and `inv up` finishes a rotation that was killed.
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
# More than the hundred that Airflow's own command processes at a time.
VARIABLES = 230
# Run with the packages of Airflow's services: log in as a role, and count what a key decrypts.
CONNECT = """
import os, psycopg2
role, password = os.environ["ROLE"], os.environ["DB_PASSWORD"]
database = "mlflow" if role == "mlflow" else "airflow"
psycopg2.connect(host=os.environ["DB_HOST"], user=role, password=password, dbname=database)
"""
DECRYPT = """
import os, psycopg2
from cryptography.fernet import Fernet, InvalidToken
cursor = psycopg2.connect(host=os.environ["DB_HOST"], user="airflow",
                          password=os.environ["DB_PASSWORD"], dbname="airflow").cursor()
cursor.execute("SELECT val FROM variable UNION ALL SELECT password FROM connection "
               "UNION ALL SELECT extra FROM connection UNION ALL SELECT kwargs FROM trigger")
def decrypts(token):
    try:
        return bool(Fernet(os.environ["KEY"]).decrypt(token.encode()))
    except InvalidToken:
        return False
tokens = [row[0] for row in cursor if row[0]]
print(sum(map(decrypts, tokens)), len(tokens))
"""


def run_in_airflow(stack, code, **environment):
    """Run Python with the packages of Airflow's services and access to the database."""
    if stack.engine == "docker":
        pairs = [f"{name}={value}" for name, value in environment.items()]
        options = [word for pair in pairs for word in ("-e", pair)]
        container = stack.container("airflow-scheduler")
        command = ("docker", "exec", "-e", "DB_HOST=postgres", *options, container)
        return stack.run(*command, "python", "-c", code)
    python = stack.state_folder() / "envs/airflow/bin/python"
    sockets = str(stack.state_folder() / "sockets")
    return stack.run(str(python), "-c", code, DB_HOST=sockets, **environment)


def count_decryptable(stack, key):
    """Return how many encrypted values a key decrypts, and how many there are."""
    password = stack.setting("AIRFLOW_DB_PASSWORD")
    done = run_in_airflow(stack, DECRYPT, KEY=key, DB_PASSWORD=password)
    assert done.returncode == 0, done.stderr
    return tuple(map(int, done.stdout.split()))


def login_status(stack, password):
    account = {"username": "airflow", "password": password}
    address = stack.url("AIRFLOW_PORT") + "/auth/token"
    return requests.post(address, json=account, timeout=30).status_code


def request(stack, method, path, document):
    address = stack.url("AIRFLOW_PORT") + path
    answer = stack.session().request(method, address, json=document, timeout=120)
    assert answer.ok, answer.text
    return answer.json()


@pytest.fixture(scope="module")
def used_stack(stack, journal):
    """Add a connection and many variables to the stack."""
    login = {"password": "s3cret", "extra": '{"token": "t0ken"}'}  # pragma: allowlist secret
    safe = {"connection_id": "safe", "conn_type": "http", **login}
    request(stack, "POST", "/api/v2/connections", safe)
    many = [{"key": f"v{number}", "value": f"of {number}"} for number in range(VARIABLES)]
    create = {"actions": [{"action": "create", "entities": many}]}
    request(stack, "PATCH", "/api/v2/variables", create)
    return stack


@pytest.fixture(scope="module")
def old_backup(used_stack, passphrase_file):
    """Return a backup with its keys, from before any rotation."""
    output = used_stack.run_ok("inv", "backup", "--passphrase-file", passphrase_file)
    return used_stack.folder / re.search(r"backups/\d{8}T\d{6}Z", output)[0]


def check_data(stack):
    """Check that the connection and all variables still have their values."""
    output = stack.run_ok("inv", "airflow", "--", "connections", "get", "safe", "--output", "json")
    [safe] = json.loads(output)
    assert safe["password"] == "s3cret"  # pragma: allowlist secret
    assert "t0ken" in str(safe)
    page = stack.airflow("/api/v2/variables?limit=100&order_by=key")
    assert page["total_entries"] == VARIABLES
    values = {variable["key"]: variable["value"] for variable in page["variables"]}
    assert values == {key: f"of {key[1:]}" for key in values}


def is_refused(stack, name, value):
    """Return whether the service that a secret protects refuses a value of it."""
    if name == FERNET:
        return count_decryptable(stack, value)[0] == 0
    if name == ADMIN:
        return login_status(stack, value) == 401
    if name in ROLES:
        done = run_in_airflow(stack, CONNECT, ROLE=ROLES[name], DB_PASSWORD=value)
        return done.returncode != 0 and "password authentication failed" in done.stderr
    if name == "REDIS_PASSWORD" and stack.engine == "docker":
        command = ("docker", "exec", "-e", f"REDISCLI_AUTH={value}", stack.container("redis"))
        return "PONG" not in stack.run(*command, "redis-cli", "ping").stdout
    return value not in service_environments(stack)


def service_environments(stack):
    """Return the environments of all services as one text."""
    if stack.engine == "docker":
        ids = stack.containers("--quiet").split()
        return stack.run_ok("docker", "inspect", "--format", "{{.Config.Env}}", *ids)
    return "".join(str(process.environ()) for process in stack.processes())


def check_rotation(stack, before, names):
    """Check that exactly these secrets changed, and that data and logins still work."""
    after = stack.settings()
    assert {name for name in SECRETS if before[name] != after[name]} == set(names)
    for name in names:
        assert is_refused(stack, name, before[name]), name
        if name in (FERNET, ADMIN, *ROLES):
            assert not is_refused(stack, name, after[name]), name
    decryptable, total = count_decryptable(stack, stack.setting(FERNET))
    assert decryptable == total >= VARIABLES
    check_data(stack)


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
def test_rotation_during_run_changes_secrets_and_run_succeeds(used_stack, old_backup, names):
    before = used_stack.settings()
    old_session = used_stack.session()
    conf = {"logical_date": None, "conf": {"seconds": 40}}
    run = request(used_stack, "POST", "/api/v2/dags/journal/dagRuns", conf)["dag_run_id"]
    path = f"/api/v2/dags/journal/dagRuns/{run}/taskInstances"

    def states():
        return [task["state"] for task in used_stack.airflow(path)["task_instances"]]

    until(lambda: states() == ["running"], 120)
    options = [word for name in names for word in ("--rotate", name)]
    output = used_stack.run_ok("inv", "secrets", *options)
    assert f"Changed and verified: {', '.join(names)}." in output
    assert not [n for n in names if before[n] in output or used_stack.setting(n) in output]
    until(lambda: states() == ["success"], 120)
    [task] = used_stack.airflow(path)["task_instances"]
    assert task["try_number"] == 1
    if "AIRFLOW_JWT_SECRET" in names:
        address = used_stack.url("AIRFLOW_PORT") + "/api/v2/variables"
        assert old_session.get(address, timeout=30).status_code in (401, 403)
    check_rotation(used_stack, before, names)


def test_backup_drill_and_doctor_pass_after_rotation(used_stack, passphrase_file):
    assert used_stack.health()["status"] == "healthy"
    used_stack.run_ok("inv", "secrets")
    used_stack.run_ok("inv", "backup", "--passphrase-file", passphrase_file)
    assert "drill passed" in used_stack.run_ok("inv", "drill")
    used_stack.run_ok("inv", "doctor")


@pytest.mark.parametrize("seconds", [0, 4, 15])
def test_up_finishes_killed_rotation(used_stack, seconds):
    before = used_stack.settings()
    rotating = used_stack.start("inv", "secrets", "--rotate", "all")
    until((used_stack.folder / ".env.rotating").exists, 300)
    try:
        rotating.wait(seconds)
    except Exception:
        rotating.send_signal(SIGKILL)
    rotating.communicate()
    assert (used_stack.folder / ".env.rotating").exists()
    used_stack.run_ok("inv", "up")
    assert not (used_stack.folder / ".env.rotating").exists()
    check_rotation(used_stack, before, [*SECRETS])


def test_old_backup_is_restored_and_its_key_rotated_out(used_stack, old_backup):
    old_keys = used_stack.setting("AIRFLOW_FORMER_FERNET_KEYS").split(",")
    assert all(old_keys)
    assert not [key for key in old_keys if key in service_environments(used_stack)]
    used_stack.run_ok("inv", "restore", str(old_backup), "--yes")
    check_data(used_stack)
    used_stack.run_ok("inv", "secrets", "--rotate", FERNET)
    decryptable, total = count_decryptable(used_stack, used_stack.setting(FERNET))
    assert decryptable == total
    assert "," not in used_stack.setting(FERNET)


def test_old_backup_is_restored_onto_empty_stack(used_stack, old_backup, passphrase_file):
    used_stack.run_ok("inv", "down", "--volumes", "--yes")
    (used_stack.folder / ".env").unlink()
    keys = old_backup.with_name(f"{old_backup.name}.keys.age")
    options = ("--keys", str(keys), "--passphrase-file", passphrase_file, "--yes")
    used_stack.run_ok("inv", "restore", str(old_backup), *options)
    check_data(used_stack)
