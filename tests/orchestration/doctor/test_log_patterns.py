"""Lines as they are really printed: each known failure is named, and a healthy stack is silent."""

import pytest

from orchestration.doctor import log_patterns
from orchestration.doctor.log_patterns import UP, patterns

NAMES = {"mlflow": "http://127.0.0.1:5000", "own_logs": "sudo chown -R 1000:0 /clone/logs"}
TOKEN = "eyJhbGciOiJIUzUxMiJ9.eyJzdWIiOiJhIn0.mIX5"  # pragma: allowlist secret
# structlog with rich: colours, and boxes with the values of all variables.
NOT_VALIDATED = f"""
\x1b[2m2026-11-26 20:20:01\x1b[0m [\x1b[33mwarning  \x1b[0m] \x1b[1mFailed to validate JWT\x1b[0m token={TOKEN}
\x1b[31m│\x1b[0m \x1b[33m│\x1b[0m signing_input = \x1b[33mb'{TOKEN}'\x1b[0m \x1b[33m│\x1b[0m \x1b[31m│\x1b[0m
\x1b[31m╰──────────────────────────────────────────────╯\x1b[0m
\x1b[1;91mInvalidSignatureError: \x1b[0mSignature verification failed
"""  # noqa: E501
SERVED_LOGS = """
[2026-11-26T20:20:01.123+0000] {serve_logs.py:108} WARNING - The signature of the request was wrong
Traceback (most recent call last):
jwt.exceptions.InvalidSignatureError: Signature verification failed
"""
NO_COLUMN = """
sqlalchemy.exc.ProgrammingError: (psycopg2.errors.UndefinedColumn) column dag.bundle_name does not exist
LINE 1: SELECT dag.dag_id, dag.bundle_name
"""  # noqa: E501
NO_TABLE = """
    cursor.execute(statement, parameters)
psycopg2.errors.UndefinedTable: relation "log_template" does not exist
"""
NOT_FETCHED = """\
uv pip sync --quiet --python=/state/envs/airflow-1.begun --require-hashes airflow.lock
ended with 2:
error: Failed to fetch: https://no-such-host.invalid/simple/nothing-at-all/
  cause: error sending request for url (https://no-such-host.invalid/simple/nothing-at-all/)
  cause: client error (Connect)
  cause: dns error
  cause: error resolving DNS
  cause: failed to lookup address information: Name or service not known
"""
PORT = """\
docker compose up -d --no-build --remove-orphans
ended with 1:
Error response from daemon: driver failed programming external connectivity on endpoint x-mlflow-1:\
 Bind for 127.0.0.1:5000 failed: port is already allocated
"""
REFUSED = (
    '(psycopg2.OperationalError) connection to server at "postgres", port 5432 failed: FATAL: '
)
OLD_MLFLOW = """\
2026/11/26 20:20:01 ERROR mlflow.cli: Error initializing backend store
mlflow.exceptions.MlflowException: Detected out-of-date database schema (found version \
0a8213491aaa, but expected cc1f77228345). Take a backup of your database
"""
HOST = (
    "2026/11/26 20:20:01 WARNING mlflow.server.fastapi_security: "
    "Rejected request with invalid Host header: evil.example:5000"
)
NOT_WOKEN = (
    "[2026-11-29T13:53:37] {wake_ups.py:76} WARNING - The database does not wake the scheduler: "
    "there is no trigger on dag_run."
)
# Service, what it printed, and the finding's name.
PRINTED = [
    ("airflow-worker", "airflow.sdk.api.client.ServerResponseError: Invalid auth token: Signature "
     "verification failed", "token-refused"),
    ("airflow-apiserver", NOT_VALIDATED, "token-refused"),
    ("airflow-worker", "ServerResponseError: Invalid auth token: Signature has expired",
     "token-expired"),
    ("airflow-scheduler", "Invalid auth token: The token is not yet valid (iat)", "token-expired"),
    ("airflow-worker", SERVED_LOGS, "log-request-refused"),
    ("airflow-apiserver", "{variable.py:82} ERROR - Can't decrypt _val for key=greeting, invalid "
     "token or value", "fernet-key-wrong"),
    ("airflow-worker", "cryptography.fernet.InvalidToken", "fernet-key-wrong"),
    ("airflow-scheduler", NOT_WOKEN, "not-woken"),
    ("mlflow", HOST, "host-header-refused"),
    ("airflow-scheduler", NO_TABLE, "airflow-schema-old"),
    ("airflow-apiserver", NO_COLUMN, "airflow-schema-old"),
    ("airflow-init", "TimeoutError: There are still unapplied migrations after 1 seconds. "
     "MigrationHead(s) in DB: set()", "airflow-schema-old"),
    ("mlflow", OLD_MLFLOW, "mlflow-schema-old"),
    ("mlflow-migrate", "alembic.util.exc.CommandError: Can't locate revision identified by "
     "'ffffffffffff'", "schema-too-new"),
    ("airflow-dag-processor", "PermissionError: [Errno 13] Permission denied: "
     "'/opt/airflow/logs/dag_processor/2026-11-26'", "no-right-to-write"),
    ("postgres", '2026-11-26 19:55:12.521 UTC [115] ERROR:  could not extend file "base/1/2619": '
     "No space left on device", "disk-full"),
    ("airflow-worker", "OSError: [Errno 28] No space left on device: '/opt/airflow/logs/x'",
     "disk-full"),
    ("airflow-scheduler", f'{REFUSED} password authentication failed for user "airflow"',
     "database-password"),
    ("mlflow", f'{REFUSED} password authentication failed for user "mlflow"',
     "database-password"),
    ("airflow-init", f'{REFUSED} password authentication failed for user "postgres"',
     "database-password"),
    ("airflow-worker", "[2026-11-26 20:20:01 ERROR/MainProcess] consumer: Cannot connect to "
     "redis://:**@redis:6379/0: invalid username-password pair or user is disabled..",
     "redis-password"),
    ("redis", "NOAUTH Authentication required.", "redis-password"),
    ("mlflow", "HTTP 401", "mlflow-password"),
    (UP, "MlflowException: API request to endpoint /api/2.0/mlflow/experiments/get-by-name failed "
     "with error code 401 != 200. Response body: 'You are not authenticated.'", "mlflow-password"),
    ("mlflow", "botocore.exceptions.ClientError: An error occurred (InvalidAccessKeyId) when "
     "calling the ListObjectsV2 operation", "artifact-store-refuses"),
    (UP, PORT, "port-taken"),
    (UP, NOT_FETCHED, "index-unreachable"),
]  # fmt: skip


def read(service, text, *, well=False):
    return list(log_patterns.read(service, text, well=well, names=NAMES))


@pytest.mark.parametrize(("service", "text", "name"), PRINTED)
def test_what_a_failure_prints_is_named(service, text, name):
    [found] = read(service, f"a line before\n{text}\na line after")
    assert (found.code, found.where) == (name, service)
    assert "{" not in found.cause + found.fix


def test_every_signature_is_produced_by_a_printed_line():
    assert {one.code for one in patterns()} == {name for *_, name in PRINTED}


@pytest.mark.parametrize(("service", "text", "name"), PRINTED)
def test_it_is_silent_about_the_words_of_another_kind_of_service(service, text, name):
    # All know of a full disk; what `inv up` said may be anybody's words.
    if name != "disk-full":
        assert read("status", text) == []


@pytest.mark.parametrize(("service", "text", "name"), PRINTED)
def test_inv_ups_own_error_may_hold_the_words_of_any_service(service, text, name):
    assert name in {found.code for found in read(UP, text)}


LASTING = {"token-refused", "token-expired", "log-request-refused", "fernet-key-wrong",
           "host-header-refused", "no-right-to-write", "not-woken"}  # fmt: skip


@pytest.mark.parametrize(("service", "text", "name"), PRINTED)
def test_of_a_service_that_is_well_only_what_lasts_is_told(service, text, name):
    told = {found.code for found in read(service, text, well=True)}
    assert told == ({name} & LASTING)


def test_a_service_that_the_database_wakes_again_has_no_problem():
    assert read("airflow-scheduler", f"{NOT_WOKEN}\nThe database wakes the scheduler again.") == []


def test_no_line_is_quoted_because_it_may_hold_a_token():
    [found] = read("airflow-apiserver", NOT_VALIDATED)
    assert TOKEN not in str(found)


def test_who_mlflow_refused_and_what_it_answers_to_are_told():
    [found] = read("mlflow", HOST)
    assert "evil.example:5000" in found.cause
    assert found.fix == "export MLFLOW_TRACKING_URI=http://127.0.0.1:5000"


def test_a_host_header_cannot_smuggle_anything_into_the_terminal():
    [found] = read("mlflow", f"{HOST}\x1b[2J; `id` $HOME")
    assert found.cause.count("evil.example:5000") == 1
    assert "\x1b" not in found.cause
    assert "`" not in found.cause


def test_the_folder_and_the_command_that_mends_it_are_told():
    refused = "PermissionError: [Errno 13] Permission denied: "
    text = f"{refused}'/etc/shadow'\n{refused}'/x/logs/dag_id=a'"
    [found] = read("airflow-worker", text)
    assert "/x/logs/dag_id=a" in found.cause
    assert found.fix == NAMES["own_logs"]


@pytest.mark.parametrize(
    ("role", "setting"),
    [
        ("airflow", "AIRFLOW_DB_PASSWORD"),
        ("mlflow", "MLFLOW_DB_PASSWORD"),
        ("postgres", "POSTGRES_PASSWORD"),
    ],
)
def test_a_refused_password_is_told_by_its_setting(role, setting):
    [found] = read("airflow-init", f'FATAL:  password authentication failed for user "{role}"')
    assert setting in found.cause
    assert setting in found.fix


# A stack that is well, its first minutes and a database that was away for a moment among them.
HEALTHY = {
    "postgres": """\
2026-11-26 19:53:15.197 UTC [53] FATAL:  password authentication failed for user "status"
2026-11-26 19:53:15.197 UTC [53] DETAIL:  Role "status" does not exist.
2026-11-26 19:55:12.521 UTC [115] ERROR:  could not extend file "base/1/2619": \
No space left on device
2026-11-26 19:55:56.185 UTC [49] FATAL:  terminating connection due to administrator command
2026-11-26 19:55:59.606 UTC [7] LOG:  database system is ready to accept connections""",
    "redis": """\
8:M 26 Nov 2026 19:53:11.363 * Running mode=standalone, port=6379.
8:M 26 Nov 2026 19:53:11.363 # WARNING Memory overcommit must be enabled! Without it, a background \
save or replication may fail under low memory condition.
8:M 26 Nov 2026 19:53:11.369 * Ready to accept connections""",
    "airflow-apiserver": """\
[2026-11-26T19:55:56.123+0000] {base_auth_manager.py:105} ERROR - JWT token is not valid: \
Signature verification failed
[2026-11-26T19:55:56.124+0000] {base_auth_manager.py:105} ERROR - JWT token is not valid: \
Signature has expired
sqlalchemy.exc.OperationalError: (psycopg2.OperationalError) server closed the \
connection unexpectedly
[parameters: {'lower_1': 'airflow'}]
INFO:     172.19.0.1:37766 - "POST /auth/token HTTP/1.1" 500 Internal Server Error
INFO:     172.19.0.1:37770 - "GET /api/v2/version HTTP/1.1" 200 OK
INFO:     172.19.0.1:37771 - "GET /api/v2/dags HTTP/1.1" 401 Unauthorized""",
    "airflow-scheduler": """\
sqlalchemy.exc.OperationalError: (psycopg2.OperationalError) could not translate host name \
"postgres" to address: Name or service not known""",
    "airflow-worker": """\
\x1b[2m2026-11-26 19:55:10.538430\x1b[0m [\x1b[32m\x1b[1minfo     \x1b[0m] \x1b[1m[14355446] \
Executing workload in Celery: token='eyJ***' ti=TaskInstance(task_id='work')
\x1b[2m2026-11-26 20:01:48.202871\x1b[0m [\x1b[33mwarning  \x1b[0m] Starting call to \
'airflow.sdk.api.client.Client.request', this is the 13th time calling it.
\x1b[2m2026-11-26 19:55:54.781300\x1b[0m [\x1b[32m\x1b[1minfo     \x1b[0m] Task finished \
[supervisor] duration=90.25 exit_code=0 final_state=success""",
    "mlflow": """\
2026/11/26 19:55:56 ERROR mlflow.store.db.utils: SQLAlchemy database error. The following \
exception is caught.
2026/11/26 19:55:56 INFO:     127.0.0.1:60776 - "POST /api/2.0/mlflow/experiments/search" 503
2026/11/26 19:56:05 INFO:     172.19.0.3:60628 - "GET /api/2.0/mlflow/registered-models" 404""",
    "mlflow-migrate": """\
2026/11/26 19:53:20 INFO mlflow.store.db.utils: Creating initial MLflow database tables...
the backend store is at this MLflow's schema""",
    "airflow-init": "[2026-11-26T19:53:26.071+0000] {override.py:1337} INFO - Added user airflow",
    "status": "INFO:     Uvicorn running on http://0.0.0.0:8081 (Press CTRL+C to quit)",
}  # fmt: skip


@pytest.mark.parametrize("service", HEALTHY)
def test_a_healthy_stack_is_silent(service):
    assert read(service, HEALTHY[service], well=True) == []
