"""The rule of every setting in .env.example: which values it accepts and whether it is a secret.

Defaults are in .env.example only. Services get a setting through the Compose files only.
"""

import ipaddress
import re
from collections.abc import Callable
from dataclasses import dataclass

PORT = "0*([1-9][0-9]{0,3}|[1-5][0-9]{4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5])"
WEB_ADDRESS = r"https?://([^\s/?#\\]*@)?([\w.-]+|\[[0-9a-fA-F:.]+\])(:[0-9]{1,5})?([/?#]\S*)?"
HOST = "[A-Za-z0-9]([A-Za-z0-9.-]{0,251}[A-Za-z0-9])?"
EMAIL = r"([^\s,@<>]+@[^\s,@<>]+|[^,<>@]*<[^\s,@<>]+@[^\s,@<>]+>)"
FERNET = "[A-Za-z0-9_-]{43}="
# https://docs.aws.amazon.com/AmazonS3/latest/userguide/bucketnamingrules.html
# No `?` or `#`: some readers do not treat what follows as a part of the name.
_NAME = "s3://[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]"
BUCKET, FILE_IN_BUCKET = rf"{_NAME}(/[^\s?#]*)?", rf"{_NAME}/\S*[^\s/]"
NOT_IN_BUCKET = "(?!s3:).*"
# A variable of the shell may contain control characters; a line of .env cannot.
LINE = "[^\x00-\x1f\x7f]*"
# https://docs.docker.com/reference/compose-file/version-and-name/
PROJECT_NAME = "([a-z0-9][a-z0-9_-]{0,62})?"
IMAGE = r"[a-z0-9][\w.-]*(:[0-9]+/[\w.-]+)?(/[\w.-]+)*(:[\w.-]+)?(@sha256:[0-9a-f]{64})?"
USER_NAME = r"[^\s:\x00-\x1f\x7f]{1,250}"


@dataclass(frozen=True)
class Rule:
    """What the values of some settings must be.

    In `cause`, {0} is the setting and {1} its value, which is left out for secrets. `values`
    completes the sentence "Set it in .env to".
    """

    names: tuple[str, ...]
    accepts: Callable[[str], object]
    cause: str
    values: str
    secret: bool = False


def _rule(names: str, pattern: str, cause: str, values: str, *, secret: bool = False) -> Rule:
    return Rule((*names.split(),), re.compile(pattern).fullmatch, cause, values, secret)


def _one_of(name: str, *allowed: str, blank: bool = False) -> Rule:
    choices = f"one of: {', '.join(allowed)}{', or leave it blank' if blank else ''}"
    return _rule(name, "|".join((*allowed, "") if blank else allowed), NOT_ALLOWED, choices)


def is_address(text: str) -> bool:
    """Return whether `text` is `localhost` or an IP address without a zone."""
    try:
        return text == "localhost" or ("%" not in text and bool(ipaddress.ip_address(text)))
    except ValueError:
        return False


NOT_ALLOWED, NO_BUCKET = "{0}={1} is not allowed.", "{0}={1} is not an S3 address."
NO_PORT, NO_ADDRESS = "{0}={1} is not a port.", "{0} is not a web address."
NO_LINE, NO_PATH = "{0} contains a control character.", "{0}={1} is not a path."
URL_PART = "{0} is part of a URL."
IN_URLS = ("AIRFLOW_DB_PASSWORD", "MLFLOW_DB_PASSWORD", "REDIS_PASSWORD")
RULES = (
    _one_of("STACK_ENGINE", "auto", "docker", "standalone"),
    _rule("COMPOSE_PROJECT_NAME", PROJECT_NAME, "{0}={1} is not the name of a Compose project.",
          "lower-case letters, digits, - and _, or leave it blank"),
    _rule("AIRFLOW_PROJ_DIR", "[^:\x00-\x1f]+", NO_PATH, "a path without a colon"),
    _rule("AIRFLOW_UID", "([0-9]{1,9})?", "{0}={1} is not a user id.",
          "a number, or leave it blank"),
    Rule(("BIND_ADDRESS",), is_address, "{0}={1} is not an IP address.",
         "127.0.0.1, localhost, 0.0.0.0 or an address of this machine"),
    _rule("AIRFLOW_PORT MLFLOW_PORT STATUS_PORT", PORT, NO_PORT, "1 to 65535"),
    _one_of("TLS", "on", "off"),
    _rule("PUBLIC_HOST", f"({HOST})?", "{0}={1} is neither a host name nor an IPv4 address.",
          "the name that people type, or leave it blank"),
    _rule("TLS_CERTIFICATE TLS_KEY", LINE, NO_PATH, "the path of a PEM file, or leave it blank"),
    _rule("_AIRFLOW_WWW_USER_USERNAME", USER_NAME, "{0}={1} is not a user name.",
          "a name without spaces and colons"),
    _rule("_AIRFLOW_WWW_USER_PASSWORD AIRFLOW_FERNET_KEY AIRFLOW_JWT_SECRET AIRFLOW_WEB_SECRET_KEY "
          "POSTGRES_PASSWORD STATUS_PASSWORD MLFLOW_ADMIN_PASSWORD MLFLOW_WORKER_PASSWORD "
          "MLFLOW_WEB_SECRET_KEY STATUS_PAGE_PASSWORD", LINE, NO_LINE,
          "a value that cannot be guessed", secret=True),
    _rule(" ".join(IN_URLS), "[A-Za-z0-9._~-]*", URL_PART, "letters, digits and ._~- only",
          secret=True),
    _rule("AIRFLOW_FORMER_FERNET_KEYS", f"({FERNET}(,{FERNET})*)?",
          "{0} is not a list of Fernet keys.", "what it was, or leave it blank", secret=True),
    _rule("WORKER_CONCURRENCY", "auto|[1-9][0-9]{0,3}", "{0}={1} is not a number of tasks.",
          "auto, or 1 to 9999"),
    _rule("WORKER_MEMORY SERVICE_MEMORY", "auto|[1-9][0-9]*[mg]",
          "{0}={1} is not an amount of memory.", "auto, 2g or 1280m, for example"),
    _rule("DATASET_URI", f"{FILE_IN_BUCKET}|{NOT_IN_BUCKET}", NO_BUCKET,
          "a path, or s3://bucket/flights.parquet"),
    _rule("PREDICTIONS_URI", f"({BUCKET})?", NO_BUCKET, "s3://bucket/prefix, or leave it blank"),
    # The value is not shown: anyone who knows it can write to the channel.
    _rule("ALERT_WEBHOOK_URL", f"({WEB_ADDRESS})?", NO_ADDRESS,
          "https://HOST/..., or leave it blank", secret=True),
    _rule("ALERT_EMAIL_TO", f"({EMAIL}([ ]*,[ ]*{EMAIL})*)?",
          "{0}={1} is not a list of e-mail addresses.",
          "addresses with commas between them, or leave it blank"),
    _rule("ALERT_EMAIL_FROM", f"({EMAIL})?", "{0}={1} is not an e-mail address.",
          "name@HOST, or leave it blank"),
    _rule("SMTP_HOST", f"({HOST}|[0-9A-Fa-f:.]+)?", "{0}={1} is not a host.",
          "a host name or IP address, or leave it blank"),
    _rule("SMTP_PORT", f"({PORT})?", NO_PORT, "1 to 65535, or leave it blank"),
    _one_of("SMTP_SECURITY", "starttls", "tls", "none", blank=True),
    _rule("SMTP_USER", LINE, NO_LINE, "the name of the account, or leave it blank"),
    _rule("SMTP_PASSWORD", LINE, NO_LINE, "the account's password, or leave it blank", secret=True),
    _rule("MLFLOW_ARTIFACTS_DESTINATION", f"{BUCKET}|{NOT_IN_BUCKET}", NO_BUCKET,
          "/mlflow_data or s3://bucket/prefix"),
    _rule("AIRFLOW_LOGS_DESTINATION", f"({BUCKET})?", NO_BUCKET,
          "s3://bucket/prefix, or leave it blank"),
    _rule("AWS_ACCESS_KEY_ID AWS_SECRET_ACCESS_KEY AWS_SESSION_TOKEN", r"\S*",
          "{0} contains a space.", "what AWS shows, or leave it blank", secret=True),
    _rule("AWS_DEFAULT_REGION", "[a-z0-9-]*", "{0}={1} is not a region.",
          "a region such as eu-central-1, or leave it blank"),
    _rule("AWS_FOLDER", "[^:\x00-\x1f]*", NO_PATH, "a path without a colon, or leave it blank"),
    _rule("AWS_PROFILE", LINE, NO_LINE, "the name of a profile, or leave it blank"),
    _rule("MLFLOW_S3_ENDPOINT_URL", f"({WEB_ADDRESS})?", NO_ADDRESS,
          "https://HOST:PORT, or leave it blank"),
    _one_of("MLFLOW_BOTO_CLIENT_ADDRESSING_STYLE", "auto", "path", "virtual", blank=True),
    _rule("AWS_CA_BUNDLE", "[^:\x00-\x1f]*", NO_PATH, "a path without a colon, or leave it blank"),
    _rule("BACKUP_PASSPHRASE_FILE", LINE, NO_PATH, "the path of a file, or leave it blank"),
    _rule("DEBIAN_IMAGE POSTGRES_IMAGE REDIS_IMAGE AIRFLOW_BASE_IMAGE", IMAGE,
          "{0}={1} is not the name of an image.", "NAME:TAG or NAME:TAG@sha256:..."),
    _rule("CA_BUNDLE", "[^:\x00-\x1f]+", NO_PATH, "the path of a PEM file"),
    # It may contain a password.
    _rule("PYPI_INDEX_URL", rf"({WEB_ADDRESS}|file:///\S+)?", NO_ADDRESS,
          "https://HOST/simple, or leave it blank", secret=True),
)  # fmt: skip
RULE_OF = {name: rule for rule in RULES for name in rule.names}
