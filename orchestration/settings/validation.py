"""Validate the values of settings."""

import base64
import ipaddress
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from operator import itemgetter

from orchestration.errors import Problem
from orchestration.settings import secret_strength

PORT = "0*([1-9][0-9]{0,3}|[1-5][0-9]{4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5])"
WEB_ADDRESS = r"https?://([^\s/?#\\]*@)?([\w.-]+|\[[0-9a-fA-F:.]+\])(:[0-9]{1,5})?([/?#]\S*)?"
HOST = "[A-Za-z0-9]([A-Za-z0-9.-]{0,251}[A-Za-z0-9])?"
# https://docs.aws.amazon.com/AmazonS3/latest/userguide/bucketnamingrules.html
# No `?` or `#`: some readers do not treat what follows as a part of the name.
_NAME = "s3://[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]"
BUCKET, FILE_IN_BUCKET = rf"{_NAME}(/[^\s?#]*)?", rf"{_NAME}/\S*[^\s/]"
NOT_IN_BUCKET = "(?!s3:).*"
# The address of a socket that listens on all addresses.
EVERYWHERE = ("0.0.0.0", "::")
FERNET_KEY = "AIRFLOW_FERNET_KEY"
# Services that publish a page, with the setting of its port.
PORTS = {
    "airflow-apiserver": "AIRFLOW_PORT", "mlflow": "MLFLOW_PORT", "status": "STATUS_PORT",
}  # fmt: skip
IN_URLS = ("AIRFLOW_DB_PASSWORD", "MLFLOW_DB_PASSWORD", "REDIS_PASSWORD")


@dataclass(frozen=True)
class Form:
    """The pattern that the whole value of some settings must match.

    In `cause`, {0} is the setting and {1} its value, which is left out for secrets. `values`
    completes the sentence "Set it in .env to".
    """

    names: tuple[str, ...]
    pattern: str
    cause: str
    values: str


def _one_of(name: str, *allowed: str, blank: bool = False) -> Form:
    choices = f"one of: {', '.join(allowed)}{', or leave it blank' if blank else ''}"
    return Form((name,), "|".join((*allowed, "") if blank else allowed), NOT_ALLOWED, choices)


NOT_ALLOWED, NO_BUCKET = "{0}={1} is not allowed.", "{0}={1} is not an S3 address."
NO_PORT, NO_ADDRESS = "{0}={1} is not a port.", "{0} is not a web address."
FORMS = (
    Form(IN_URLS, "[A-Za-z0-9._~-]*", "{0} is part of a URL.", "letters, digits and ._~- only"),
    Form((*PORTS.values(),), PORT, NO_PORT, "1 to 65535"),
    Form(("WORKER_MEMORY", "SERVICE_MEMORY"), "auto|[1-9][0-9]*[mg]",
         "{0}={1} is not an amount of memory.", "auto, 2g or 1280m, for example"),
    _one_of("STACK_ENGINE", "auto", "docker", "standalone"),
    _one_of("TLS", "on", "off"),
    Form(("PUBLIC_HOST",), f"({HOST})?", "{0}={1} is neither a host name nor an IPv4 address.",
         "the name that people type, or leave it blank"),
    # The value is not shown: anyone who knows it can write to the channel.
    Form(("ALERT_WEBHOOK_URL",), f"({WEB_ADDRESS})?", NO_ADDRESS,
         "https://HOST/..., or leave it blank"),
    Form(("SMTP_PORT",), f"({PORT})?", NO_PORT, "1 to 65535, or leave it blank"),
    _one_of("SMTP_SECURITY", "starttls", "tls", "none", blank=True),
    Form(("MLFLOW_S3_ENDPOINT_URL",), f"({WEB_ADDRESS})?", NO_ADDRESS,
         "https://HOST:PORT, or leave it blank"),
    _one_of("MLFLOW_BOTO_CLIENT_ADDRESSING_STYLE", "auto", "path", "virtual", blank=True),
    Form(("MLFLOW_ARTIFACTS_DESTINATION",), f"{BUCKET}|{NOT_IN_BUCKET}", NO_BUCKET,
         "s3://bucket/prefix"),
    Form(("AIRFLOW_LOGS_DESTINATION",), f"({BUCKET})?", NO_BUCKET,
         "s3://bucket/prefix, or leave it blank"),
    Form(("DATASET_URI",), f"{FILE_IN_BUCKET}|{NOT_IN_BUCKET}", NO_BUCKET,
         "s3://bucket/flights.parquet"),
)  # fmt: skip


def problems(values: Mapping[str, str], required: Iterable[str]) -> list[Problem]:
    """Return the problems of these values; the settings in `required` must not be blank."""
    return [*_blank(values, required), *_malformed(values), *_contradictions(values)]


def _unusable(cause: str, fix: str) -> Problem:
    return Problem("env-unusable", cause, fix, ".env")


def _blank(values: Mapping[str, str], required: Iterable[str]) -> Iterator[Problem]:
    if blank := [name for name in required if not values[name]]:
        cause = f"{', '.join(blank)} {'are' if blank[1:] else 'is'} blank in .env."
        yield Problem("not-installed", cause, "inv install", ".env")


def _malformed(values: Mapping[str, str]) -> Iterator[Problem]:
    for form in FORMS:
        for name in form.names:
            if not re.fullmatch(form.pattern, values[name]):
                fix = f"Set it in .env to {form.values}."
                yield _unusable(form.cause.format(name, values[name]), fix)


def _contradictions(values: Mapping[str, str]) -> Iterator[Problem]:
    if bool(values["TLS_CERTIFICATE"]) != bool(values["TLS_KEY"]):
        cause = "Only one of TLS_CERTIFICATE and TLS_KEY is set."
        yield _unusable(cause, "Set both in .env, or neither.")
    if values["ALERT_EMAIL_TO"] and not values["SMTP_HOST"]:
        cause = "ALERT_EMAIL_TO needs a mail server."
        yield _unusable(cause, "Set SMTP_HOST in .env, or leave ALERT_EMAIL_TO blank.")
    artifacts, logs = (
        f"{values[f'{name}_DESTINATION'].rstrip('/')}/"
        for name in ("MLFLOW_ARTIFACTS", "AIRFLOW_LOGS")
    )
    if artifacts.startswith("s3://") and logs.startswith(artifacts):
        # A backup lists the artifacts and a drill verifies that they are unchanged. Logs do change.
        cause = "AIRFLOW_LOGS_DESTINATION is inside MLFLOW_ARTIFACTS_DESTINATION."
        yield _unusable(cause, "Set another prefix in .env.")


def exposure_problems(values: Mapping[str, str]) -> list[Problem]:
    """Return a problem if other machines could reach the pages without TLS."""
    address, tls = values["BIND_ADDRESS"], values["TLS"] == "on"
    elsewhere = "Set {} in .env and connect from elsewhere with ssh -L, or use Docker."
    if values["STACK_ENGINE"] == "standalone":
        if not is_loopback(address):
            cause = f"BIND_ADDRESS={address} needs TLS, and there is no TLS proxy without Docker."
            return [_exposed(cause, elsewhere.format("BIND_ADDRESS=127.0.0.1"))]
        cause = "TLS=on needs the TLS proxy, which runs on Docker only."
        return [_exposed(cause, elsewhere.format("TLS=off"))] if tls else []
    if tls or is_loopback(address):
        return []
    cause = f"BIND_ADDRESS={address} would send pages and passwords over the network unencrypted."
    return [_exposed(cause, "Set TLS=on in .env, or BIND_ADDRESS=127.0.0.1.")]


def _exposed(cause: str, fix: str) -> Problem:
    return Problem("exposed", cause, fix, ".env")


def is_loopback(address: str) -> bool:
    """Return whether only this machine can reach a port on that address."""
    try:
        return address == "localhost" or ipaddress.ip_address(address).is_loopback
    except ValueError:
        return False


def weaknesses(secrets: Mapping[str, str]) -> dict[str, str]:
    """Return why each weak secret is weak, by name, as in `made of common words`.

    Blank secrets are not checked. No value is quoted, because these texts end up in logs.
    """
    first = {value: name for name, value in reversed([*secrets.items()])}
    reasons = {}
    for name, value in filter(itemgetter(1), secrets.items()):
        why = _weakness(name, value)
        if why or first[value] != name:
            reasons[name] = why or f"the same as {first[value]}"
    return reasons


def _weakness(name: str, value: str) -> str:
    if name != FERNET_KEY:
        return secret_strength.weakness(name, value)
    if not all(map(_is_fernet_key, value.split(","))):
        return "not a Fernet key (32 bytes in URL-safe base64)"
    # The keys after the first one only decrypt older data.
    return secret_strength.key_weakness(value.partition(",")[0])


def weak_secrets(secrets: Mapping[str, str]) -> list[Problem]:
    """Return a problem for each weak secret."""
    return [
        Problem("weak-secret", f"{name} is {why}.", _replacement(name, secrets[name]), ".env")
        for name, why in weaknesses(secrets).items()
    ]


def _replacement(name: str, value: str) -> str:
    if name == FERNET_KEY and not all(map(_is_fernet_key, value.split(","))):
        return (
            "Put the key back that the data was encrypted with. Before the first install, leave "
            "it blank in .env."
        )
    return (
        "If there is no data yet, leave it blank in .env and run: inv install. Otherwise run: "
        f"inv secrets --rotate {name}"
    )


def _is_fernet_key(text: str) -> bool:
    try:
        return len(base64.b64decode(text, altchars=b"-_", validate=True)) == 32
    except ValueError:
        return False
