"""What failures print, as data: which service says it, what it means, and the one thing to type.

The texts are those of Airflow 3.0.1, MLflow 3.17, PostgreSQL 16, Redis 7 and uv. A line is never
quoted: it may hold a token. A group of a pattern takes only what cannot be a secret.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from orchestration.errors import Problem

COLOURS = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")
# Where `inv up` itself stands for a service: what it said when it failed.
UP = "inv up"
# Names, or what they begin with.
AIRFLOW, MLFLOW, ALL = ("airflow-",), ("mlflow",), ("",)


@dataclass(frozen=True)
class Signature:
    """A failure by what its services print.

    `pattern`'s groups fill `cause`; {mlflow} in `fix` is its address, {own_logs} a command.
    `lasting`: it matters also where the service that said it is well.
    """

    name: str
    services: tuple[str, ...]
    pattern: str
    cause: str
    fix: str
    lasting: bool = False

    def of(self, service: str) -> bool:
        """Whether that service may print it; what `inv up` said may hold anybody's words."""
        return service == UP or service.startswith(self.services)

    def found_in(self, text: str, service: str, names: Mapping[str, str]) -> Iterator[Problem]:
        """The finding, if the text holds it."""
        if found := re.search(self.pattern, text):
            cause, fix = self.cause.format(*found.groups()), self.fix.format(**names)
            yield Problem(self.name, cause, fix, service)


def _password(role: str, setting: str) -> Signature:
    return Signature(
        "database-password",
        ("airflow-", "mlflow"),
        rf'password authentication failed for user "{role}"',
        f"PostgreSQL rejects the password of {role}: its data was created with another {setting}.",
        f"Put the previous {setting} back in .env, then run: inv up",
    )


SIGNATURES = (
    Signature(
        "token-refused",
        AIRFLOW,
        # With a browser's old token the api-server says "JWT token is not valid" instead.
        r"Invalid auth token: Signature verification failed",
        "The api-server rejects the tokens of tasks: they are signed with another "
        "AIRFLOW_JWT_SECRET.",
        "inv down && inv up",
        lasting=True,
    ),
    Signature(
        "token-refused",
        ("airflow-apiserver",),
        r"InvalidSignatureError: Signature verification failed",
        "The api-server rejects the tokens of tasks: they are signed with another "
        "AIRFLOW_JWT_SECRET.",
        "inv down && inv up",
        lasting=True,
    ),
    Signature(
        "token-expired",
        AIRFLOW,
        r"Invalid auth token: (?:Signature has expired|The token is not yet valid)",
        "Tokens of tasks had expired or were not valid yet: a clock was changed, or a task waited "
        "for more than a day.",
        "sudo timedatectl set-ntp true",
        lasting=True,
    ),
    Signature(
        "log-request-refused",
        ("airflow-worker", "airflow-triggerer", "airflow-scheduler"),
        r"The signature of the request was wrong",
        "The api-server cannot read the logs of running tasks: it signs with another "
        "AIRFLOW_WEB_SECRET_KEY.",
        "inv down && inv up",
        lasting=True,
    ),
    Signature(
        "fernet-key-wrong",
        AIRFLOW,
        r"Can't decrypt _val for key=|cryptography\.fernet\.InvalidToken",
        "A connection or variable was encrypted with another AIRFLOW_FERNET_KEY.",
        "Add the previous key after the new one, AIRFLOW_FERNET_KEY=NEW,OLD, then run: inv up",
        lasting=True,
    ),
    Signature(
        "host-header-refused",
        MLFLOW,
        r"Rejected request with invalid Host header: ([\w.:\[\]-]{1,100})",
        "MLflow rejects requests to the host {0}: it accepts this machine's address and the name "
        "mlflow only.",
        "export MLFLOW_TRACKING_URI={mlflow}",
        lasting=True,
    ),
    Signature(
        "mlflow-password",
        # The page's word on MLflow, and the last lines of a task.
        MLFLOW,
        r"(?m)^HTTP 401$",
        "MLflow rejects its account status: STATUS_PASSWORD in .env is not its password.",
        "inv rebuild -s mlflow-migrate",
    ),
    Signature(
        "mlflow-password",
        (UP,),
        r"API request to endpoint /api/2\.0/mlflow\S* failed with error code 401 ",
        "MLflow rejects its account worker: MLFLOW_WORKER_PASSWORD in .env is not its password.",
        "inv rebuild -s mlflow-migrate",
    ),
    Signature(
        "airflow-schema-old",
        AIRFLOW,
        r"There are still unapplied migrations after|psycopg2\.errors\.Undefined(?:Table|Column)",
        "Airflow's database has the schema of another version.",
        "inv rebuild -s airflow-init",
    ),
    Signature(
        "mlflow-schema-old",
        MLFLOW,
        r"Detected out-of-date database schema",
        "MLflow's database has the schema of another version.",
        "inv rebuild -s mlflow-migrate",
    ),
    Signature(
        "schema-too-new",
        (*AIRFLOW, *MLFLOW),
        r"Can't locate revision identified by",
        "The database was created by a newer version of Airflow or MLflow than installed here.",
        "Check out the version that created it (git log -- install), then run: inv up",
    ),
    Signature(
        "no-right-to-write",
        AIRFLOW,
        r"PermissionError: \[Errno 13\] Permission denied: '(/[^'\s]*/logs[^'\s]*)'",
        "Airflow's user is not allowed to write to {0}.",
        "{own_logs}",
        lasting=True,
    ),
    Signature(
        "disk-full", ALL, r"No space left on device", "No space is left on the disk.", "inv clean"
    ),
    *(
        _password(role, setting)
        for role, setting in {
            "airflow": "AIRFLOW_DB_PASSWORD",
            "mlflow": "MLFLOW_DB_PASSWORD",
            "postgres": "POSTGRES_PASSWORD",
        }.items()
    ),
    Signature(
        "redis-password",
        ("airflow-worker", "airflow-scheduler", "redis"),
        r"invalid username-password pair or user is disabled|Authentication required\."
        r"|NOAUTH |WRONGPASS ",
        "Redis rejects the password: it was started with another REDIS_PASSWORD.",
        "inv down && inv up",
    ),
    Signature(
        "artifact-store-refuses",
        MLFLOW,
        r"An error occurred \((InvalidAccessKeyId|SignatureDoesNotMatch|AccessDenied|NoSuchBucket"
        r"|RequestTimeTooSkewed|ExpiredToken)\)",
        "The artifact store rejects MLflow: {0}.",
        "Set MLFLOW_ARTIFACTS_DESTINATION and the AWS_... keys in .env, then run: inv up",
    ),
    Signature(
        "port-taken",
        (UP,),
        r"Bind for ([\d.]+:\d+) failed: port is already allocated"
        r"|listen tcp[46]? ([\d.]+:\d+): bind: address already in use",
        "Another program uses a port of this stack.",
        "Set AIRFLOW_PORT, MLFLOW_PORT or STATUS_PORT in .env, then run: inv up",
    ),
    Signature(
        "index-unreachable",
        (UP,),
        r"Failed to fetch: \S+\n[\s\S]{0,800}?(?:dns error|connect error|timed out)",
        "Packages could not be downloaded: the package index does not answer.",
        "Set PYPI_INDEX_URL in .env or https_proxy, then run: inv install",
    ),
)


def read(service: str, text: str, *, well: bool, names: Mapping[str, str]) -> Iterator[Problem]:
    """What a service's words tell; of one that is well only what matters all the same."""
    plain = COLOURS.sub("", text)
    for one in SIGNATURES:
        if one.of(service) and (one.lasting or not well):
            yield from one.found_in(plain, service, names)
