"""Test the failure patterns with real log lines of failing and healthy services."""

import pytest

from orchestration.doctor import log_patterns
from orchestration.doctor.log_patterns import UP, patterns

NAMES = {"mlflow": "http://127.0.0.1:5000", "own_logs": "sudo chown -R 1000:0 /clone/logs"}
TOKEN = "eyJhbGciOiJIUzUxMiJ9.eyJzdWIiOiJhIn0.mIX5"  # pragma: allowlist secret
# Output of structlog with rich: colours, and boxes with the values of all variables.
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
exited with code 2:
error: Failed to fetch: https://no-such-host.invalid/simple/nothing-at-all/
  cause: error sending request for url (https://no-such-host.invalid/simple/nothing-at-all/)
  cause: client error (Connect)
  cause: dns error
  cause: error resolving DNS
  cause: failed to lookup address information: Name or service not known
"""
PORT = """\
docker compose up -d --no-build --remove-orphans
exited with code 1:
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
BLOCKED = (
    "2026-11-29 18:22:07 [error    ] The trigger naps/manual__1/nap/0/1 (ID 7) blocked all others "
    "for 60 s. chan=stderr"
)
STUCK = """
2026-11-29 18:22:01 [warning  ] The triggers make no progress: one blocks all others. [airflow]
2026-11-29 18:22:07 [error    ] Stack (most recent call first): chan=stderr
2026-11-29 18:22:07 [error    ]   File "/x/psycopg2/__init__.py", line 9 in query chan=stderr
2026-11-29 18:22:07 [error    ]   File "/opt/airflow/dags/naps.py", line 16 in run chan=stderr
2026-11-29 18:22:07 [error    ]   File "/x/triggerer_job_runner.py", line 1014 in run_trigger chan=stderr
2026-11-29 18:22:07 [error    ]   File "/x/patches/triggers.py", line 140 in run_trigger chan=stderr
"""  # noqa: E501
# A service, its output and the expected code.
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
    ("airflow-triggerer", BLOCKED, "trigger-blocks"),
    ("airflow-triggerer", STUCK, "trigger-blocks"),
    ("airflow-worker", "{plugins_manager.py:311} ERROR - Failed to import plugin "
     "/opt/airflow/plugins/team/mine.py", "plugin-broken"),
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
    ("postgres", "the database system is starting up", "database-recovering"),
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


def match(service, text, *, healthy=False):
    return list(log_patterns.match(service, text, healthy=healthy, names=NAMES))


@pytest.mark.parametrize(("service", "text", "code"), PRINTED)
def test_match_recognizes_a_failure(service, text, code):
    [problem] = match(service, f"a line before\n{text}\na line after")
    assert (problem.code, problem.where) == (code, service)
    assert "{" not in problem.cause + problem.fix


def test_patterns_all_have_a_log_line_here():
    assert {one.code for one in patterns()} == {code for *_, code in PRINTED}


@pytest.mark.parametrize(("service", "text", "code"), PRINTED)
def test_match_ignores_lines_of_another_service(service, text, code):
    # Any service can report a full disk.
    if code != "disk-full":
        assert match("status", text) == []


@pytest.mark.parametrize(("service", "text", "code"), PRINTED)
def test_match_recognizes_any_service_in_an_error_of_up(service, text, code):
    assert code in {problem.code for problem in match(UP, text)}


def test_match_ignores_rejections_in_the_log_of_postgres():
    line = "2026-11-26 19:55:57.342 UTC [23] FATAL:  the database system is starting up"
    assert match("postgres", line) == []


def test_match_recognizes_an_init_job_that_waited_too_long():
    text = "postgres:5432 is not ready after 600 s: the database system is starting up"
    assert [problem.code for problem in match(UP, text)] == ["database-recovering"]


LASTING = {"token-refused", "token-expired", "log-request-refused", "fernet-key-wrong",
           "host-header-refused", "no-right-to-write", "not-woken",
           "trigger-blocks", "plugin-broken"}  # fmt: skip


@pytest.mark.parametrize(("service", "text", "code"), PRINTED)
def test_match_of_a_healthy_service_finds_only_lasting_failures(service, text, code):
    codes = {problem.code for problem in match(service, text, healthy=True)}
    assert codes == ({code} & LASTING)


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("/opt/airflow/plugins/team/mine.py", "plugins/team/mine.py"),
        ("/srv/plugins/clone/plugins/mine.py", "plugins/mine.py"),
        ("my_entry_point", "my_entry_point"),
    ],
)
def test_match_names_the_broken_plugin(name, shown):
    [problem] = match("airflow-scheduler", f"Failed to import plugin {name}\nTraceback")
    assert problem.cause.startswith(f"The plugin {shown} cannot be imported")


def test_match_ignores_wake_ups_that_work_again():
    assert match("airflow-scheduler", f"{NOT_WOKEN}\nThe database wakes the scheduler again.") == []


def test_match_names_the_trigger_or_file_that_blocks():
    assert "naps/manual__1/nap/0/1 (ID 7)" in match("airflow-triggerer", BLOCKED)[0].cause
    assert "/opt/airflow/dags/naps.py" in match("airflow-triggerer", STUCK)[0].cause
    assert match("airflow-triggerer", f"{STUCK}\nThe triggers make progress again.") == []


def test_match_quotes_no_token():
    [problem] = match("airflow-apiserver", NOT_VALIDATED)
    assert TOKEN not in str(problem)


def test_match_names_the_rejected_and_the_accepted_host():
    [problem] = match("mlflow", HOST)
    assert "evil.example:5000" in problem.cause
    assert problem.fix == "export MLFLOW_TRACKING_URI=http://127.0.0.1:5000"


def test_match_quotes_no_control_characters_of_a_host():
    [problem] = match("mlflow", f"{HOST}\x1b[2J; `id` $HOME")
    assert problem.cause.count("evil.example:5000") == 1
    assert "\x1b" not in problem.cause
    assert "`" not in problem.cause


def test_match_names_the_folder_and_the_command_for_it():
    refused = "PermissionError: [Errno 13] Permission denied: "
    text = f"{refused}'/etc/shadow'\n{refused}'/x/logs/dag_id=a'"
    [problem] = match("airflow-worker", text)
    assert "/x/logs/dag_id=a" in problem.cause
    assert problem.fix == NAMES["own_logs"]


@pytest.mark.parametrize(
    ("role", "setting"),
    [
        ("airflow", "AIRFLOW_DB_PASSWORD"),
        ("mlflow", "MLFLOW_DB_PASSWORD"),
        ("postgres", "POSTGRES_PASSWORD"),
    ],
)
def test_match_names_the_setting_of_a_rejected_password(role, setting):
    [problem] = match("airflow-init", f'FATAL:  password authentication failed for user "{role}"')
    assert setting in problem.cause
    assert setting in problem.fix


# Logs of a healthy stack, including its first minutes and a short loss of the database.
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
The backend store has the schema of this MLflow.""",
    "airflow-init": "[2026-11-26T19:53:26.071+0000] {override.py:1337} INFO - Added user airflow",
    "status": "INFO:     Uvicorn running on http://0.0.0.0:8081 (Press CTRL+C to quit)",
}  # fmt: skip


@pytest.mark.parametrize("service", HEALTHY)
def test_match_finds_nothing_in_a_healthy_stack(service):
    assert match(service, HEALTHY[service], healthy=True) == []
