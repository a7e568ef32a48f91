"""What the value of a setting may be, and the line that says why it may not."""

import base64
import ipaddress
import re
from collections.abc import Iterable, Mapping

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
    "AIRFLOW_LOGS_DESTINATION": (BUCKET, "s3://bucket/prefix, or blank"),
    "DATASET_URI": (FILE_IN_ONE, "s3://bucket/flights.parquet"),
}
HOST = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.-]{0,251}[A-Za-z0-9])?")
# The address of a socket that listens on all addresses.
EVERYWHERE = ("0.0.0.0", "::")
IN_URLS = ("AIRFLOW_DB_PASSWORD", "MLFLOW_DB_PASSWORD", "REDIS_PASSWORD")


def problems(values: Mapping[str, str], needed: Iterable[str]) -> list[str]:
    """Why these values cannot be used, a line each; `needed` may not be blank."""
    wrong = [f"{name} is blank in .env: inv install" for name in needed if not values[name]]
    wrong += [
        f"{name} stands in a URL and may hold letters, digits and ._~- only: change it in .env"
        for name in IN_URLS
        if values[name] and not URL_SAFE.match(values[name])
    ]
    for name in ("AIRFLOW_PORT", "MLFLOW_PORT", "STATUS_PORT"):
        if not _is_port(values[name]):
            wrong.append(f"{name}={values[name]} is not a port: 1 to 65535")
    for name in ("WORKER_MEMORY", "SERVICE_MEMORY"):
        if not MEMORY.fullmatch(values[name]):
            wrong.append(f"{name}={values[name]} is no amount of memory: auto, or as 2g or 1280m")
    if values["STACK_ENGINE"] not in ("auto", "docker", "standalone"):
        wrong.append(f"STACK_ENGINE={values['STACK_ENGINE']} is none of auto, docker, standalone")
    return wrong + _tls_problems(values) + _alert_problems(values) + _bucket_problems(values)


def _tls_problems(values: Mapping[str, str]) -> list[str]:
    wrong = []
    if values["TLS"] not in ("on", "off"):
        wrong.append(f"TLS={values['TLS']} is neither on nor off")
    if values["PUBLIC_HOST"] and not HOST.fullmatch(values["PUBLIC_HOST"]):
        wrong.append(f"PUBLIC_HOST={values['PUBLIC_HOST']} is no host name and no IPv4 address")
    if bool(values["TLS_CERTIFICATE"]) != bool(values["TLS_KEY"]):
        wrong.append("TLS_CERTIFICATE and TLS_KEY belong together: set both in .env, or neither")
    return wrong


def _bucket_problems(values: Mapping[str, str]) -> list[str]:
    wrong, style, at = [], "MLFLOW_BOTO_CLIENT_ADDRESSING_STYLE", "MLFLOW_S3_ENDPOINT_URL"
    if values[style] not in ("", "auto", "path", "virtual"):
        wrong.append(f"{style}={values[style]} is none of auto, path, virtual")
    for name, (form, example) in IN_BUCKETS.items():
        place, only = values[name], name == "AIRFLOW_LOGS_DESTINATION"
        if place and (only or place.startswith("s3:")) and not form.fullmatch(place):
            wrong.append(f"{name}={place} is no place in a bucket: {example}")
    artifacts, logs = (f"{values[name].rstrip('/')}/" for name in [*IN_BUCKETS][:2])
    if artifacts.startswith("s3://") and logs.startswith(artifacts):
        # A backup lists artifacts, and a drill looks whether they are as they were.
        wrong.append("AIRFLOW_LOGS_DESTINATION lies among the artifacts: name another prefix")
    if values[at] and not WEB_ADDRESS.fullmatch(values[at]):
        wrong.append(f"{at} is no web address: https://HOST:PORT in .env, or blank")
    return wrong


def exposed(values: Mapping[str, str]) -> list[str]:
    """Why pages that are not protected would be within reach of other machines, a line each."""
    address, tls = values["BIND_ADDRESS"], values["TLS"] == "on"
    if values["STACK_ENGINE"] == "standalone":
        way_out = "from elsewhere: ssh -L) in .env, or use Docker"
        if not is_loopback(address):
            return [
                f"BIND_ADDRESS={address} needs TLS, and without Docker there is no proxy for it: "
                f"set BIND_ADDRESS=127.0.0.1 ({way_out}"
            ]
        told = "TLS=on needs the proxy, which runs on Docker only: set TLS=off"
        return [f"{told} ({way_out}"] if tls else []
    if tls or is_loopback(address):
        return []
    return [
        f"BIND_ADDRESS={address} would show the pages, and what is typed there, to the network: "
        "set TLS=on in .env, or BIND_ADDRESS=127.0.0.1"
    ]


def is_loopback(address: str) -> bool:
    """Only this machine can reach what listens there."""
    try:
        return address == "localhost" or ipaddress.ip_address(address).is_loopback
    except ValueError:
        return False


def _alert_problems(values: Mapping[str, str]) -> list[str]:
    wrong = []
    if values["ALERT_WEBHOOK_URL"] and not WEB_ADDRESS.fullmatch(values["ALERT_WEBHOOK_URL"]):
        # Never with its value: who knows it may write to the channel.
        wrong.append("ALERT_WEBHOOK_URL is no web address: https://HOST/... in .env, or blank")
    if values["ALERT_EMAIL_TO"] and not values["SMTP_HOST"]:
        wrong.append("ALERT_EMAIL_TO needs a mail server: set SMTP_HOST in .env, or leave it blank")
    if values["SMTP_PORT"] and not _is_port(values["SMTP_PORT"]):
        wrong.append(f"SMTP_PORT={values['SMTP_PORT']} is not a port: 1 to 65535, or blank")
    if values["SMTP_SECURITY"] not in ("", "starttls", "tls", "none"):
        wrong.append(f"SMTP_SECURITY={values['SMTP_SECURITY']} is none of starttls, tls, none")
    return wrong


def _is_port(text: str) -> bool:
    return bool(PORT.fullmatch(text)) and 0 < int(text) < 65536


def weak(name: str, value: str) -> str:
    """Why a secret can be guessed, or a Fernet key is none; blank where it is good."""
    # Never with its value: these lines end up in logs.
    if name == "AIRFLOW_FERNET_KEY":
        if not all(map(_is_fernet_key, value.split(","))):
            return (
                f"{name} is no Fernet key (32 bytes in URL-safe base64): put the one back that "
                "the data was encrypted with; before the first install, leave it blank in .env"
            )
        # Those behind it only open what is to be encrypted anew.
        wrong = secret_strength.guessable_key(value.partition(",")[0])
    else:
        wrong = secret_strength.guessable(name, value)
    return wrong and f"{name} is {wrong}: {_another(name)}"


def twice(values: Mapping[str, str]) -> list[str]:
    """A line for each secret whose value another one has, which it would give away."""
    first = {value: name for name, value in reversed([*values.items()])}
    return [
        f"{name} has the value of {first[value]}: {_another(name)}"
        for name, value in values.items()
        if value and first[value] != name
    ]


def _another(name: str) -> str:
    made = "leave it blank in .env, then inv install makes one"
    return f"{made}; where there is data, inv secrets --rotate {name}"


def _is_fernet_key(text: str) -> bool:
    try:
        return len(base64.b64decode(text, altchars=b"-_", validate=True)) == 32
    except ValueError:
        return False
