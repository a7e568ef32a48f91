"""Test the table of settings: each has a rule, which accepts good values and refuses bad ones."""

import pytest

from orchestration.errors import StackError
from orchestration.project import Project
from orchestration.settings import envfile
from orchestration.settings.model import SECRETS
from orchestration.settings.rules import RULE_OF, RULES
from tests.support.repository import ROOT

EXAMPLE = envfile.parse((ROOT / ".env.example").read_text("utf-8"))
DIGEST = f"sha256:{'0a' * 32}"
FERNET = "A" * 43 + "="
GOOD_SECRET, BAD_SECRET = "q7.Z-k_2~W9bT4eM_x8", "a\nb"  # pragma: allowlist secret
WEB = ["", "https://me@host.example:8443/a"], ["host.example", "ftp://host/a", "https://a b"]
PATH = ["", "/etc/a.pem", "my certificates/a.pem"], ["a\nb"]
NO_COLON = ["", "/home/me/.aws", "~/.aws"], ["/a:/b", "a\nb"]
PORTS = ["1", "8081", "65535"], ["", "0", "65536", "-1", "http", "80 81", "8080.5", "²"]
MEMORY = ["auto", "2g", "1280m"], ["", "lots", "2", "0m", "2G", "1.5g", "-2g"]
IMAGE = (
    ["debian:bookworm-slim", f"mirror.example:5000/lib/postgres:16.4@{DIGEST}"],
    ["", "a b", "Debian", "debian:", "debian@sha256:0a", "$(id)"],
)
LINE = ["", "a b", "ö"], ["a\nb", "a\x1bb"]
# Good and bad values of every setting.
VALUES = {
    "STACK_ENGINE": (["docker", "standalone", "auto"], ["", "podman", "Docker"]),
    "COMPOSE_PROJECT_NAME": (["a", "flights-2_b"], ["A", "-a", "a b", "a.b", "a" * 64]),
    "AIRFLOW_PROJ_DIR": (["..", "/data/flows", "../my dags"], ["", "/a:/b", "a\nb"]),
    "AIRFLOW_UID": (["0", "1000", "50000"], ["me", "-1", "1000:0", "1e3"]),
    "BIND_ADDRESS": (
        ["127.0.0.1", "0.0.0.0", "::1", "10.1.2.3"],
        ["", "box.example", "127.0.0", "127.0.0.256", "::::", "fe80::1%eth0", "127.0.0.1:80"],
    ),
    **dict.fromkeys(("AIRFLOW_PORT", "MLFLOW_PORT", "STATUS_PORT"), PORTS),
    "TLS": (["on", "off"], ["", "yes", "On"]),
    "PUBLIC_HOST": (["", "box.example", "10.1.2.3"], ["https://box", "box:80", "-box"]),
    **dict.fromkeys(("TLS_CERTIFICATE", "TLS_KEY", "BACKUP_PASSPHRASE_FILE"), PATH),
    "_AIRFLOW_WWW_USER_USERNAME": (["airflow", "me@example.org"], ["", "a b", "a:b", "a" * 251]),
    **dict.fromkeys(SECRETS, ([GOOD_SECRET], [BAD_SECRET])),
    **dict.fromkeys(
        ("AIRFLOW_DB_PASSWORD", "MLFLOW_DB_PASSWORD", "REDIS_PASSWORD"),
        ([GOOD_SECRET], ["p@ss/word", "a b", "ä", BAD_SECRET]),
    ),
    "AIRFLOW_FORMER_FERNET_KEYS": (["", FERNET, f"{FERNET},{FERNET}"], ["x", f"{FERNET},", ","]),
    "WORKER_CONCURRENCY": (
        ["auto", "1", "16"], ["", "lots", "0", "-1", "1.5", "2,4", "10000", "٣"],
    ),
    **dict.fromkeys(("WORKER_MEMORY", "SERVICE_MEMORY"), MEMORY),
    "DATASET_URI": (
        ["", "/data/flights.csv", "s3://bucket/a.parquet"], ["s3://bucket", "s3://B/a"],
    ),
    "ALERT_WEBHOOK_URL": WEB,
    "ALERT_EMAIL_TO": (
        ["me@example.org", "a@example.org, b@example.org"], ["me", "a@b@c", "a@b c@d"],
    ),
    "ALERT_EMAIL_FROM": (["", "me@example.org", "The stack <me@example.org>"], ["me", "a@b,c@d"]),
    "SMTP_HOST": (["", "mail.example.org", "10.1.2.3", "::1"], ["smtp://mail", "mail:25", "a b"]),
    "SMTP_PORT": (["", "587"], ["0", "65536", "smtp", "-1"]),
    "SMTP_SECURITY": (["", "starttls", "tls", "none"], ["ssl", "STARTTLS"]),
    **dict.fromkeys(("SMTP_USER", "SMTP_PASSWORD", "AWS_PROFILE"), LINE),
    "MLFLOW_ARTIFACTS_DESTINATION": (["/mlflow_data", "s3://bucket/a"], ["s3://B/x", "s3:bucket"]),
    "AIRFLOW_LOGS_DESTINATION": (["", "s3://bucket/logs"], ["/logs", "s3://"]),
    "PREDICTIONS_URI": (["", "s3://bucket/predictions"], ["/predictions", "s3://"]),
    **dict.fromkeys(
        ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"),
        (["", "aB3/+="], ["a b", "a\nb"]),
    ),
    "AWS_DEFAULT_REGION": (["", "eu-central-1"], ["EU", "eu central"]),
    **dict.fromkeys(("AWS_FOLDER", "AWS_CA_BUNDLE"), NO_COLON),
    "MLFLOW_S3_ENDPOINT_URL": WEB,
    "MLFLOW_BOTO_CLIENT_ADDRESSING_STYLE": (["", "auto", "path", "virtual"], ["dns"]),
    **dict.fromkeys(
        ("DEBIAN_IMAGE", "POSTGRES_IMAGE", "REDIS_IMAGE", "AIRFLOW_BASE_IMAGE"), IMAGE
    ),
    "CA_BUNDLE": (["/etc/ssl/certs/ca-certificates.crt"], ["", "/a:/b"]),
    "PYPI_INDEX_URL": ([*WEB[0], "file:///srv/simple"], ["pypi.example/simple", "file://a"]),
}  # fmt: skip
# What some values need in other settings.
NEEDED = {
    "ALERT_EMAIL_TO": {"SMTP_HOST": "mail.example.org"},
    "TLS_CERTIFICATE": {"TLS_KEY": "key.pem"},
    "TLS_KEY": {"TLS_CERTIFICATE": "certificate.pem"},
}


def pairs(position):
    return [(name, value) for name, values in VALUES.items() for value in values[position]]


def test_every_setting_of_the_example_has_one_rule_and_is_tested():
    assert sorted(name for rule in RULES for name in rule.names) == sorted(EXAMPLE)
    assert VALUES.keys() == EXAMPLE.keys()
    assert all(good and bad for good, bad in VALUES.values())


@pytest.mark.parametrize("name", EXAMPLE)
def test_default_is_accepted(name):
    assert RULE_OF[name].accepts(EXAMPLE[name])


@pytest.mark.parametrize(("name", "value"), pairs(0))
def test_good_value_is_accepted(make_settings, name, value):
    needed = NEEDED.get(name, {}) if value else {}
    assert make_settings(**{**needed, name: value})[name] == value


@pytest.mark.parametrize(("name", "value"), pairs(1))
def test_bad_value_is_refused_in_one_sentence_with_the_choices(make_settings, name, value):
    with pytest.raises(StackError) as error:
        make_settings(**{**NEEDED.get(name, {}), name: value})
    [problem] = error.value.problems
    assert problem.code == "env-unusable"
    assert problem.cause.startswith(name)
    assert problem.fix.startswith(f"Set it in this shell to {RULE_OF[name].values}.")
    assert problem.fix.endswith(f"unset {name}")
    if RULE_OF[name].secret:
        assert value not in problem.cause


def test_bad_value_of_the_file_is_corrected_there(installed):
    path = installed / ".env"
    lines = path.read_text().splitlines()
    path.write_text("\n".join(
        "WORKER_CONCURRENCY=lots" if line.startswith("WORKER_CONCURRENCY=") else line
        for line in lines
    ))  # fmt: skip
    with pytest.raises(StackError) as error:
        Project(installed, {}).settings()
    assert str(error.value) == (
        "WORKER_CONCURRENCY=lots is not a number of tasks.\n"
        "Set it in .env to auto, or 1 to 9999."
    )  # fmt: skip


def test_secrets_are_marked_in_the_table():
    secret = {name for name, rule in RULE_OF.items() if rule.secret}
    others = {name for name in EXAMPLE if name.endswith(("PASSWORD", "_KEY", "_SECRET", "_TOKEN"))}
    assert secret >= {*SECRETS, *others} - {"TLS_KEY"}


def test_localhost_is_the_loopback_address_on_both_engines(make_settings):
    for engine in ("docker", "standalone"):
        settings = make_settings(BIND_ADDRESS="localhost", STACK_ENGINE=engine)
        assert settings.compose_environment()["BIND_ADDRESS"] == "127.0.0.1"
        assert settings.url("STATUS_PORT") == "http://127.0.0.1:8081"
