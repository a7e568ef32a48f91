"""Rules for the values of settings."""

import base64
import ipaddress
import re
from collections.abc import Iterable, Iterator, Mapping
from itertools import chain
from operator import itemgetter

from orchestration.errors import Problem
from orchestration.settings import secret_strength

URL_SAFE = re.compile(r"^[A-Za-z0-9._~-]+$")
PORT = re.compile(r"[0-9]{1,5}")
WEB_ADDRESS = re.compile(
    r"https?://([^\s/?#\\]*@)?([\w.-]+|\[[0-9a-fA-F:.]+\])(:[0-9]{1,5})?([/?#]\S*)?"
)
# As Compose reads it; auto until `inv install` has looked at the machine.
MEMORY = re.compile(r"auto|[1-9][0-9]*[mg]")
# https://docs.aws.amazon.com/AmazonS3/latest/userguide/bucketnamingrules.html
# What follows `?` or `#` would be no part of a name to some who read it.
NAME = r"s3://[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]"
BUCKET, FILE_IN_ONE = re.compile(rf"{NAME}(/[^\s?#]*)?"), re.compile(rf"{NAME}/\S*[^\s/]")
# What may be in one, with an example.
IN_BUCKETS = {
    "MLFLOW_ARTIFACTS_DESTINATION": (BUCKET, "s3://bucket/prefix"),
    "AIRFLOW_LOGS_DESTINATION": (BUCKET, "s3://bucket/prefix, or leave it blank"),
    "DATASET_URI": (FILE_IN_ONE, "s3://bucket/flights.parquet"),
}
HOST = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.-]{0,251}[A-Za-z0-9])?")
# The address of a socket that listens on all addresses.
EVERYWHERE = ("0.0.0.0", "::")
FERNET_KEY = "AIRFLOW_FERNET_KEY"
IN_URLS = ("AIRFLOW_DB_PASSWORD", "MLFLOW_DB_PASSWORD", "REDIS_PASSWORD")


def problems(values: Mapping[str, str], needed: Iterable[str]) -> list[Problem]:
    """Return why these values cannot be used; the settings in `needed` must have one."""
    rules = (_blank(values, needed), _passwords_in_urls(values), _ports(values), _sizes(values),
             _engine(values), _tls(values), _alerts(values), _buckets(values))  # fmt: skip
    return [*chain.from_iterable(rules)]


def _unusable(cause: str, fix: str) -> Problem:
    return Problem("env-unusable", cause, fix, ".env")


def _none_of(values: Mapping[str, str], name: str, *allowed: str) -> Iterator[Problem]:
    if values[name] not in allowed:
        choices = ", ".join(filter(None, allowed))
        fix = f"Set {name} in .env to one of: {choices}{', or leave it blank' * ('' in allowed)}."
        yield _unusable(f"{name}={values[name]} is not allowed.", fix)


def _blank(values: Mapping[str, str], needed: Iterable[str]) -> Iterator[Problem]:
    if blank := [name for name in needed if not values[name]]:
        cause = f"{', '.join(blank)} {'are' if blank[1:] else 'is'} blank in .env."
        yield Problem("not-installed", cause, "inv install", ".env")


def _passwords_in_urls(values: Mapping[str, str]) -> Iterator[Problem]:
    for name in IN_URLS:
        if values[name] and not URL_SAFE.match(values[name]):
            cause = f"{name} is part of a URL: only letters, digits and ._~- are allowed."
            yield _unusable(cause, f"Change {name} in .env.")


def _ports(values: Mapping[str, str]) -> Iterator[Problem]:
    for name in ("AIRFLOW_PORT", "MLFLOW_PORT", "STATUS_PORT"):
        if not _is_port(values[name]):
            yield _unusable(
                f"{name}={values[name]} is not a port.", f"Set {name} in .env to 1 to 65535."
            )


def _sizes(values: Mapping[str, str]) -> Iterator[Problem]:
    for name in ("WORKER_MEMORY", "SERVICE_MEMORY"):
        if not MEMORY.fullmatch(values[name]):
            cause = f"{name}={values[name]} is not an amount of memory."
            yield _unusable(cause, f"Set {name} in .env to auto, 2g, 1280m or the like.")


def _engine(values: Mapping[str, str]) -> Iterator[Problem]:
    yield from _none_of(values, "STACK_ENGINE", "auto", "docker", "standalone")


def _tls(values: Mapping[str, str]) -> Iterator[Problem]:
    yield from _none_of(values, "TLS", "on", "off")
    if values["PUBLIC_HOST"] and not HOST.fullmatch(values["PUBLIC_HOST"]):
        cause = f"PUBLIC_HOST={values['PUBLIC_HOST']} is neither a host name nor an IPv4 address."
        yield _unusable(cause, "Correct PUBLIC_HOST in .env.")
    if bool(values["TLS_CERTIFICATE"]) != bool(values["TLS_KEY"]):
        cause = "Only one of TLS_CERTIFICATE and TLS_KEY is set."
        yield _unusable(cause, "Set both in .env, or neither.")


def _buckets(values: Mapping[str, str]) -> Iterator[Problem]:
    at = "MLFLOW_S3_ENDPOINT_URL"
    yield from _none_of(
        values, "MLFLOW_BOTO_CLIENT_ADDRESSING_STYLE", "", "auto", "path", "virtual"
    )
    for name, (form, example) in IN_BUCKETS.items():
        place, only = values[name], name == "AIRFLOW_LOGS_DESTINATION"
        if place and (only or place.startswith("s3:")) and not form.fullmatch(place):
            yield _unusable(
                f"{name}={place} is not an S3 address.", f"Set it in .env to {example}."
            )
    artifacts, logs = (f"{values[name].rstrip('/')}/" for name in [*IN_BUCKETS][:2])
    if artifacts.startswith("s3://") and logs.startswith(artifacts):
        # A backup lists the artifacts, and a drill checks that they are unchanged.
        cause = "AIRFLOW_LOGS_DESTINATION is inside MLFLOW_ARTIFACTS_DESTINATION."
        yield _unusable(cause, "Set another prefix in .env.")
    if values[at] and not WEB_ADDRESS.fullmatch(values[at]):
        yield _unusable(
            f"{at} is not a web address.", "Set it in .env to https://HOST:PORT, or leave it blank."
        )


def exposed(values: Mapping[str, str]) -> list[Problem]:
    """Return why other machines could reach pages that are not protected."""
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
    """Only this machine can reach what listens there."""
    try:
        return address == "localhost" or ipaddress.ip_address(address).is_loopback
    except ValueError:
        return False


def _alerts(values: Mapping[str, str]) -> Iterator[Problem]:
    if values["ALERT_WEBHOOK_URL"] and not WEB_ADDRESS.fullmatch(values["ALERT_WEBHOOK_URL"]):
        # Never with its value: anyone who knows it can write to the channel.
        cause = "ALERT_WEBHOOK_URL is not a web address."
        yield _unusable(cause, "Set it in .env to https://HOST/..., or leave it blank.")
    if values["ALERT_EMAIL_TO"] and not values["SMTP_HOST"]:
        cause = "ALERT_EMAIL_TO needs a mail server."
        yield _unusable(cause, "Set SMTP_HOST in .env, or leave ALERT_EMAIL_TO blank.")
    if values["SMTP_PORT"] and not _is_port(values["SMTP_PORT"]):
        cause = f"SMTP_PORT={values['SMTP_PORT']} is not a port."
        yield _unusable(cause, "Set it in .env to 1 to 65535, or leave it blank.")
    yield from _none_of(values, "SMTP_SECURITY", "", "starttls", "tls", "none")


def _is_port(text: str) -> bool:
    return bool(PORT.fullmatch(text)) and 0 < int(text) < 65536


def weaknesses(secrets: Mapping[str, str]) -> dict[str, str]:
    """Return why each weak secret is weak, by name, as `made of words that everybody tries`.

    Blank secrets are not judged. No value is quoted: these texts end up in logs.
    """
    first = {value: name for name, value in reversed([*secrets.items()])}
    found = {}
    for name, value in filter(itemgetter(1), secrets.items()):
        why = _weakness(name, value)
        if why or first[value] != name:
            found[name] = why or f"the same as {first[value]}"
    return found


def _weakness(name: str, value: str) -> str:
    if name != FERNET_KEY:
        return secret_strength.guessable(name, value)
    if not all(map(_is_fernet_key, value.split(","))):
        return "not a Fernet key (32 bytes in URL-safe base64)"
    # The keys after the first one only decrypt older data.
    return secret_strength.guessable_key(value.partition(",")[0])


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
        "Where there is no data yet, leave it blank in .env and run: inv install. Otherwise run: "
        f"inv secrets --rotate {name}"
    )


def _is_fernet_key(text: str) -> bool:
    try:
        return len(base64.b64decode(text, altchars=b"-_", validate=True)) == 32
    except ValueError:
        return False
