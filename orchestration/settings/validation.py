"""Validate the values of settings."""

import base64
import ipaddress
from collections.abc import Collection, Iterable, Iterator, Mapping
from operator import itemgetter

from orchestration.errors import Problem
from orchestration.settings import secret_strength
from orchestration.settings.rules import RULE_OF

# The address of a socket that listens on all addresses.
EVERYWHERE = ("0.0.0.0", "::")
FERNET_KEY = "AIRFLOW_FERNET_KEY"
# Services that publish a page, with the setting of its port.
PORTS = {
    "airflow-apiserver": "AIRFLOW_PORT", "mlflow": "MLFLOW_PORT", "status": "STATUS_PORT",
}  # fmt: skip


def problems(
    values: Mapping[str, str], required: Iterable[str], exported: Collection[str] = ()
) -> list[Problem]:
    """Return the problems of these values; the settings in `required` must not be blank.

    The settings in `exported` have their value from the shell and not from .env.
    """
    malformed = _malformed(values, exported)
    return [*_blank(values, required), *malformed, *_contradictions(values)]


def _unusable(cause: str, fix: str) -> Problem:
    return Problem("env-unusable", cause, fix, ".env")


def _blank(values: Mapping[str, str], required: Iterable[str]) -> Iterator[Problem]:
    if blank := [name for name in required if not values[name]]:
        cause = f"{', '.join(blank)} {'are' if blank[1:] else 'is'} blank in .env."
        yield Problem("not-installed", cause, "inv install", ".env")


def _malformed(values: Mapping[str, str], exported: Collection[str]) -> Iterator[Problem]:
    for name, rule in RULE_OF.items():
        if not rule.accepts(values[name]):
            place, unset = "in .env", ""
            if name in exported:
                place, unset = "in this shell", f" To use the value in .env, run: unset {name}"
            fix = f"Set it {place} to {rule.values}.{unset}"
            yield _unusable(rule.cause.format(name, values[name]), fix)


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


def celery_problems(values: Mapping[str, str]) -> list[Problem]:
    """Return a problem if options of Celery have no effect, because only Docker has a queue."""
    celery = [name for name in values if name.startswith("AIRFLOW__CELERY")]
    if values["STACK_ENGINE"] != "standalone" or not celery:
        return []
    cause = f"{', '.join(celery)} has no effect: without Docker there is no Celery."
    return [_unusable(cause, "Remove it from .env, then run: inv up")]


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
