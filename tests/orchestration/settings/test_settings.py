"""Test settings: precedence, validation, drafts of .env and Compose's environment."""

import base64
import dataclasses
import os
import re
import socket
import stat
from pathlib import Path

import hypothesis
import pytest
from hypothesis import strategies as st

from orchestration.errors import StackError
from orchestration.host.drafts import draft_env
from orchestration.project import Project
from orchestration.settings import envfile
from orchestration.settings.model import SECRETS, Settings
from orchestration.settings.rules import IN_URLS

REPO = Path(__file__).resolve().parents[3]


def set_value(root, name, value):
    """Change the value of a setting in .env."""
    path = root / ".env"
    line = re.compile(rf"^{name}=.*$", re.MULTILINE)
    path.write_text(line.sub(lambda _: f"{name}={value}", path.read_text()))


def test_settings_environment_overrides_file_overrides_example(installed):
    set_value(installed, "AIRFLOW_PORT", "8090")
    set_value(installed, "MLFLOW_PORT", "5090")
    loaded = Project(installed, {"MLFLOW_PORT": "5091"}).settings()
    assert loaded["STATUS_PORT"] == "8081"
    assert loaded["AIRFLOW_PORT"] == "8090"
    assert loaded["MLFLOW_PORT"] == "5091"


def test_settings_missing_in_file_has_default(installed):
    path = installed / ".env"
    path.write_text(path.read_text().replace("STATUS_PORT=8081\n", ""))
    assert Project(installed, {}).settings()["STATUS_PORT"] == "8081"


def test_settings_without_file_suggests_install(clone):
    with pytest.raises(StackError, match="inv install"):
        Project(clone, {}).settings()


def test_settings_malformed_line_is_reported(installed):
    (installed / ".env").write_text("STACK_ENGINE\n")
    with pytest.raises(StackError, match="line 1"):
        Project(installed, {}).settings()


def test_settings_are_immutable(make_settings):
    with pytest.raises(dataclasses.FrozenInstanceError):
        make_settings().root = None


def test_compose_environment_omits_unrelated_variables(make_settings):
    stray = {
        "COMPOSE_FILE": "/elsewhere.yaml",
        "COMPOSE_PROFILES": "all",
        "AIRFLOW__CORE__EXECUTOR": "LocalExecutor",
        "PGPASSWORD": "x",
        "PYTHONPATH": "/x",
        "MY_PATH": "/x",
    }
    wanted = {
        "PATH": "/bin",
        "HOME": "/home/me",
        "DOCKER_HOST": "tcp://127.0.0.1:1",
        "https_proxy": "http://proxy",
        "no_proxy": "localhost",
        "XDG_RUNTIME_DIR": "/run/me",
    }
    environment = make_settings(**stray, **wanted).compose_environment()
    assert not stray.keys() & environment.keys()
    assert {name: environment[name] for name in wanted} == wanted


@pytest.mark.parametrize("name", ["HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "ALL_PROXY"])
def test_compose_environment_includes_uppercase_proxies(make_settings, name):
    assert make_settings(**{name: "x"}).compose_environment()[name] == "x"


def test_compose_environment_has_all_settings_and_absolute_folder(make_settings, clone):
    settings = make_settings(AIRFLOW_PORT=8090, AIRFLOW_PROJ_DIR="../mine")
    environment = settings.compose_environment()
    assert settings.values.keys() <= environment.keys()
    assert environment["AIRFLOW_PORT"] == "8090"
    assert environment["AIRFLOW_PROJ_DIR"] == str(clone / "mine")


def test_project_dir_is_relative_to_orchestration(make_settings, clone):
    assert make_settings().project_dir == clone
    assert str(make_settings(AIRFLOW_PROJ_DIR="/data/flows").project_dir) == "/data/flows"


def test_public_url_uses_public_host_and_url_this_machine(make_settings):
    everywhere = {"BIND_ADDRESS": "0.0.0.0", "TLS": "on"}
    named = make_settings(**everywhere, PUBLIC_HOST="box.example")
    assert named.public_url("AIRFLOW_PORT") == "https://box.example:8080"
    assert named.url("AIRFLOW_PORT") == "https://127.0.0.1:8080"
    assert named.compose_environment()["PUBLIC_HOST"] == "box.example"
    unnamed = make_settings(**everywhere)
    assert unnamed.public_url("MLFLOW_PORT") == f"https://{socket.gethostname()}:5000"
    assert unnamed.compose_environment()["PUBLIC_HOST"] == socket.gethostname()
    local = make_settings(PUBLIC_HOST="box.example")
    assert local.public_url("STATUS_PORT") == "http://127.0.0.1:8081"


@pytest.mark.parametrize("address", ["127.0.0.1", "127.8.0.1", "::1", "localhost"])
@pytest.mark.parametrize("engine", ["docker", "standalone"])
def test_refuse_exposed_accepts_loopback_without_tls(make_settings, address, engine):
    make_settings(BIND_ADDRESS=address, STACK_ENGINE=engine).refuse_exposed()


@pytest.mark.parametrize("address", ["0.0.0.0", "::", "10.1.2.3"])
def test_refuse_exposed_other_address_needs_tls_and_docker(make_settings, address):
    with pytest.raises(StackError, match=r"Set TLS=on in \.env, or BIND_ADDRESS=127\.0\.0\.1"):
        make_settings(BIND_ADDRESS=address).refuse_exposed()
    make_settings(BIND_ADDRESS=address, TLS="on").refuse_exposed()
    for tls in ("on", "off"):
        alone = make_settings(BIND_ADDRESS=address, TLS=tls, STACK_ENGINE="standalone")
        with pytest.raises(StackError, match="there is no TLS proxy without Docker"):
            alone.refuse_exposed()


def test_refuse_exposed_rejects_tls_without_docker(make_settings):
    with pytest.raises(StackError, match=r"Docker only\.\nSet TLS=off in \.env"):
        make_settings(TLS="on", STACK_ENGINE="standalone").refuse_exposed()
    assert make_settings(BIND_ADDRESS="0.0.0.0").url("AIRFLOW_PORT") == "http://127.0.0.1:8080"


def test_url_of_wildcard_address_is_loopback(make_settings):
    assert make_settings(BIND_ADDRESS="0.0.0.0").url("AIRFLOW_PORT") == "http://127.0.0.1:8080"
    assert make_settings(BIND_ADDRESS="10.1.2.3").url("MLFLOW_PORT") == "http://10.1.2.3:5000"


# Malformed values of settings and the reported cause, in which {0} is the value.
MALFORMED = {
    "STATUS_PORT": (
        ["0", "65536", "-1", "http", "", "²", "٣", "9" * 5000], "STATUS_PORT={0} is not a port.",
    ),
    "SMTP_PORT": (["0", "65536", "smtp", "-1"], "SMTP_PORT={0} is not a port."),
    **{name: (["p@ss/word"], f"{name} is part of a URL.") for name in IN_URLS},
    "WORKER_MEMORY": (["lots", "2", "0m", ""], "WORKER_MEMORY={0} is not an amount of memory."),
    "TLS": (["yes", ""], "TLS={0} is not allowed."),
    "SMTP_SECURITY": (["ssl", "STARTTLS", "yes"], "SMTP_SECURITY={0} is not allowed."),
    "MLFLOW_BOTO_CLIENT_ADDRESSING_STYLE": (
        ["dns"], "MLFLOW_BOTO_CLIENT_ADDRESSING_STYLE={0} is not allowed.",
    ),
    "PUBLIC_HOST": (
        ["https://box", "box.example;", "-box"],
        "PUBLIC_HOST={0} is neither a host name nor an IPv4 address.",
    ),
    # The cause must not quote the value, which may be a secret.
    "ALERT_WEBHOOK_URL": (
        ["s3cr3t", "hooks.slack.com/s3cr3t", "https://", "https:///s3cr3t", "http://:80/s3cr3t",
         "ftp://a/s3cr3t", "file:///s3cr3t", "https://?s3cr3t", "https://a/ s3cr3t",
         "see https://a/s3cr3t", "https://<s3cr3t>/", "https://a:s3cr3t"],
        "ALERT_WEBHOOK_URL is not a web address.",
    ),
    "MLFLOW_S3_ENDPOINT_URL": (["minio:9000"], "MLFLOW_S3_ENDPOINT_URL is not a web address."),
    "MLFLOW_ARTIFACTS_DESTINATION": (
        ["s3:bucket", "s3://", "s3://B/x", "s3://a_b/x", "s3://ab", "s3://abc/a?b"],
        "MLFLOW_ARTIFACTS_DESTINATION={0} is not an S3 address.",
    ),
    "AIRFLOW_LOGS_DESTINATION": (
        ["/logs", "logs", "s3://", "s3://B/x"],
        "AIRFLOW_LOGS_DESTINATION={0} is not an S3 address.",
    ),
    "DATASET_URI": (
        ["s3://B/a", "s3://bucket", "s3://bucket/", "s3://bucket/a/"],
        "DATASET_URI={0} is not an S3 address.",
    ),
}  # fmt: skip
WELL_FORMED = {
    "ALERT_WEBHOOK_URL": [
        "http://a", "http://[::1]/x", "https://me:pw@10.1.2.3:8443/x",  # pragma: allowlist secret
    ],
    "MLFLOW_ARTIFACTS_DESTINATION": [
        "", "s3://a.bucket-1", "s3://bucket/a/b", "/mlflow_data", "file:///a",
    ],
    "AIRFLOW_LOGS_DESTINATION": ["", "s3://bucket/logs"],
    "SMTP_HOST": ["mail.example.org"],
    "STATUS_PORT": ["1", "8081", "65535"],
}  # fmt: skip


@pytest.mark.parametrize(
    ("name", "value"), [(name, value) for name, (bad, _) in MALFORMED.items() for value in bad]
)
def test_malformed_value_is_rejected(make_settings, name, value):
    with pytest.raises(StackError) as error:
        make_settings(**{name: value})
    [problem] = error.value.problems
    assert problem.cause == MALFORMED[name][1].format(value)
    assert problem.code == "env-unusable"
    assert "s3cr3t" not in str(problem)


@pytest.mark.parametrize(
    ("name", "value"), [(name, value) for name, good in WELL_FORMED.items() for value in good]
)
def test_well_formed_value_is_accepted(make_settings, name, value):
    assert make_settings(**{name: value})[name] == value


@pytest.mark.parametrize(
    ("given", "cause"),
    [
        ({"TLS_KEY": "mine.pem"}, "Only one of TLS_CERTIFICATE and TLS_KEY is set."),
        ({"TLS_CERTIFICATE": "mine.pem"}, "Only one of TLS_CERTIFICATE and TLS_KEY is set."),
        ({"ALERT_EMAIL_TO": "me@example.org"}, "ALERT_EMAIL_TO needs a mail server."),
    ],
)
def test_contradicting_settings_are_rejected(make_settings, given, cause):
    with pytest.raises(StackError) as error:
        make_settings(**given)
    assert [one.cause for one in error.value.problems] == [cause]


@pytest.mark.parametrize("name", [*SECRETS, "COMPOSE_PROJECT_NAME", "AIRFLOW_UID"])
def test_blank_required_setting_is_rejected(make_settings, name):
    with pytest.raises(StackError, match=f"^{name} is blank in .env.\nRun: inv install$"):
        make_settings(**{name: ""})


def test_all_invalid_values_are_reported_at_once(make_settings):
    with pytest.raises(StackError) as error:
        make_settings(
            AIRFLOW_PORT="x",
            STACK_ENGINE="podman",
            REDIS_PASSWORD="a b" * 8,  # pragma: allowlist secret
        )
    causes = [one.cause for one in error.value.problems]
    for setting in ("STACK_ENGINE=podman", "AIRFLOW_PORT=x", "REDIS_PASSWORD"):
        assert causes.pop(0).startswith(setting)
    assert causes == []


ALERTS = [
    "ALERT_WEBHOOK_URL", "ALERT_EMAIL_TO", "ALERT_EMAIL_FROM", "SMTP_HOST", "SMTP_PORT",
    "SMTP_SECURITY", "SMTP_USER", "SMTP_PASSWORD",
]  # fmt: skip


@pytest.mark.parametrize("name", ALERTS)
def test_alert_settings_may_be_blank(make_settings, name):
    make_settings(**{name: ""}).refuse_unsafe()


@pytest.mark.parametrize("security", ["starttls", "tls", "none"])
def test_alert_settings_are_passed_on_unchanged(make_settings, security):
    webhook = "https://hooks.slack.com/services/T0/B0/x%20y?a=b"  # pragma: allowlist secret
    given = {
        "ALERT_WEBHOOK_URL": webhook,
        "ALERT_EMAIL_TO": "me@example.org",
        "SMTP_HOST": "mail.example.org",
        "SMTP_PORT": "587",
        "SMTP_SECURITY": security,
        "SMTP_PASSWORD": "abc",
    }
    settings = make_settings(**given)
    settings.refuse_unsafe()
    assert given.items() <= settings.compose_environment().items()


@pytest.mark.parametrize("value", ["abc", "changeme", "p@ss w0rd/$"])
def test_smtp_password_is_not_checked_for_strength(make_settings, value):
    make_settings(SMTP_PASSWORD=value).refuse_unsafe()


def test_draft_leaves_alert_settings_blank(installed):
    loaded = Project(installed, {}).settings()
    assert {name: loaded[name] for name in ALERTS} == {
        **dict.fromkeys(ALERTS, ""),
        "SMTP_SECURITY": "starttls",
    }


@pytest.mark.parametrize(("logs", "is_inside"), [("a/b", True), ("a", True), ("ab", False)])
def test_log_destination_inside_artifacts_is_rejected(make_settings, logs, is_inside):
    given = {"MLFLOW_ARTIFACTS_DESTINATION": "s3://bucket/a/"}
    given["AIRFLOW_LOGS_DESTINATION"] = f"s3://bucket/{logs}"
    if not is_inside:
        assert make_settings(**given)
        return
    with pytest.raises(StackError, match="DESTINATION is inside MLFLOW_ARTIFACTS_DESTINATION"):
        make_settings(**given)


@pytest.mark.parametrize(
    ("given", "added_by"),
    [
        ({}, {}),
        ({"MLFLOW_ARTIFACTS_DESTINATION": "s3://bucket/a"}, {}),
        ({"DATASET_URI": "/data/flights.csv"}, {}),
        ({"DATASET_URI": "s3://bucket/flights.csv"}, {"s3": ("DATASET_URI",)}),
        ({"AIRFLOW_LOGS_DESTINATION": "s3://bucket/l"},
         dict.fromkeys(("s3", "logs"), ("AIRFLOW_LOGS_DESTINATION",))),
    ],
)  # fmt: skip
def test_compose_files_depend_on_bucket_settings(make_settings, given, added_by):
    files = {f"docker-compose.{name}.yaml": settings for name, settings in added_by.items()}
    assert make_settings(**given).compose_files == {"docker-compose.yaml": (), **files}


OTHERS = [name for name in SECRETS if name not in ("AIRFLOW_FERNET_KEY", *IN_URLS)]
PLACEHOLDERS = [
    "<put a secret here>",
    "change-me!!!!!!!!!!",
    "CHANGEME............",
    "xxxxxxxxxxxxxxxxxxxx",
    "....................",
    "Your-secret-password",
    "my secret password",
]


@pytest.mark.parametrize("value", PLACEHOLDERS)
def test_placeholder_secret_is_rejected_without_its_value(make_settings, value):
    for name in OTHERS:
        with pytest.raises(StackError) as error:
            make_settings(**{name: value}).refuse_unsafe()
        [problem] = error.value.problems
        assert problem.cause == f"{name} is a placeholder."
        assert problem.fix.endswith(f"inv secrets --rotate {name}")
        assert value not in str(error.value)


@pytest.mark.parametrize("name", [name for name in SECRETS if name != "AIRFLOW_FERNET_KEY"])
def test_short_secret_is_rejected_without_its_value(make_settings, name):
    shortest = 8 if name == "_AIRFLOW_WWW_USER_PASSWORD" else 16
    least = "q7.Z-k_2~W9bT4eM"[:shortest]
    make_settings(**{name: least}).refuse_unsafe()
    with pytest.raises(StackError) as error:
        make_settings(**{name: least[:-1]}).refuse_unsafe()
    assert f"{name} is shorter than {shortest} characters." in str(error.value)
    assert least[:-1] not in str(error.value)


@pytest.mark.parametrize("value", ["Password", "postgres"])
def test_common_password_is_rejected(make_settings, value):
    with pytest.raises(StackError, match="_AIRFLOW_WWW_USER_PASSWORD is made of common words"):
        make_settings(_AIRFLOW_WWW_USER_PASSWORD=value).refuse_unsafe()


KEY = base64.urlsafe_b64encode(bytes(range(224, 256))).decode()


@pytest.mark.parametrize("value", [KEY, f"{KEY},{KEY}"], ids=["one", "two during rotation"])
def test_list_of_two_fernet_keys_is_accepted(make_settings, value):
    make_settings(AIRFLOW_FERNET_KEY=value).refuse_unsafe()


@pytest.mark.parametrize(
    "value",
    [
        "a" * 32,
        KEY[:-1],
        KEY[:40],
        f"{KEY},",
        f"{KEY},nokey",
        f" {KEY}",
        base64.urlsafe_b64encode(bytes(16)).decode(),
        "ö" * 44,
    ],
)
def test_invalid_fernet_key_is_rejected_and_kept(make_settings, value):
    with pytest.raises(StackError) as error:
        make_settings(AIRFLOW_FERNET_KEY=value).refuse_unsafe()
    message = str(error.value)
    assert message.startswith("AIRFLOW_FERNET_KEY is not a Fernet key")
    assert "Put the key back that the data was encrypted with" in message
    assert value not in message


def test_generated_secret_is_no_placeholder(make_settings):
    # Generated by secrets.token_urlsafe() in a test run.
    generated = "My-knae0_DqceIdprJQDQBqSBvsRVA9JzB1bNj_vxgc"  # pragma: allowlist secret
    make_settings(POSTGRES_PASSWORD=generated).refuse_unsafe()


def test_first_draft_has_all_secrets_and_writes_nothing(clone):
    text, summary = draft_env(Project(clone, os.environ))
    values = Settings.from_text(text, clone, {}).values
    generated = [values[name] for name in SECRETS]
    assert all(len(value) >= 20 for value in generated)
    assert len(set(generated)) == len(generated)
    assert summary == "Created .env from .env.example."
    assert not (clone / ".env").exists()


def test_two_drafts_have_different_secrets(clone):
    one, two = (
        Settings.from_text(draft_env(Project(clone, os.environ))[0], clone, {}) for _ in range(2)
    )
    assert not {one[name] for name in SECRETS} & {two[name] for name in SECRETS}
    assert one.project == two.project


def test_generated_fernet_key_has_32_bytes(make_settings):
    assert len(base64.urlsafe_b64decode(make_settings()["AIRFLOW_FERNET_KEY"])) == 32


def test_write_env_has_mode_0600_and_the_engine(installed):
    assert stat.S_IMODE((installed / ".env").stat().st_mode) == 0o600
    assert Project(installed, {}).settings().engine == "docker"


SHELL = {
    "AIRFLOW_PORT": "18080",
    "WORKER_CONCURRENCY": "3",
    "ALERT_EMAIL_TO": "",
    "TLS": "off",
    "SMTP_PASSWORD": "a $1",  # pragma: allowlist secret
    "POSTGRES_PASSWORD": "q7.Z-k_2~W9bT4eM",  # pragma: allowlist secret
}


def test_first_draft_contains_settings_of_the_shell(clone):
    text, summary = draft_env(Project(clone, {**SHELL, "PATH": "/bin", "AIRFLOW_VAR_A": "1"}))
    later = Settings.from_text(text, clone, {})
    assert {name: later[name] for name in SHELL} == SHELL
    assert later["STATUS_PORT"] == "8081"
    assert "AIRFLOW_VAR_A" not in later.values
    assert summary.splitlines() == [
        "Created .env from .env.example.",
        "Wrote to .env from this shell: "
        "AIRFLOW_PORT, POSTGRES_PASSWORD, WORKER_CONCURRENCY, SMTP_PASSWORD.",
    ]


def test_first_draft_keeps_values_that_were_edited_before(clone):
    example = (clone / ".env.example").read_text()
    (clone / ".env").write_text(example.replace("MLFLOW_PORT=5000", "MLFLOW_PORT=5001"))
    project = Project(clone, {"MLFLOW_PORT": "5002", "AIRFLOW_PORT": "18080"})
    values = envfile.parse(draft_env(project)[0])
    assert (values["MLFLOW_PORT"], values["AIRFLOW_PORT"]) == ("5001", "18080")


def test_first_draft_leaves_variables_of_aws_in_the_shell(clone):
    text, summary = draft_env(Project(clone, {"AWS_SESSION_TOKEN": "made-up", "TLS": "on"}))
    values = envfile.parse(text)
    assert (values["AWS_SESSION_TOKEN"], values["TLS"]) == ("", "on")
    assert summary.endswith(
        "\nIn this shell only: AWS_SESSION_TOKEN. If the stack needs them, add them to .env."
    )


def test_later_draft_ignores_the_shell(installed):
    before = (installed / ".env").read_text()
    assert draft_env(Project(installed, SHELL)) == (before, "")


def test_first_draft_refuses_a_value_that_cannot_be_written(clone):
    with pytest.raises(StackError, match="SMTP_PASSWORD in this shell cannot be written"):
        draft_env(Project(clone, {"SMTP_PASSWORD": "it's $1"}))


def test_stack_id_depends_on_folder_and_secret(make_settings, clone):
    settings = make_settings()
    assert settings.compose_environment()["STACK_ID"] == settings.stack_id
    assert re.fullmatch("[0-9a-f]{16}", settings.stack_id)
    moved = dataclasses.replace(settings, root=clone / "copy")
    other = make_settings(AIRFLOW_JWT_SECRET="q7.Z-k_2~W9bT4eM")
    assert len({settings.stack_id, moved.stack_id, other.stack_id}) == 3


def test_second_draft_changes_nothing(installed):
    before = (installed / ".env").read_bytes()
    text, summary = draft_env(Project(installed, os.environ))
    Project(installed, os.environ).write_env(text, "standalone")
    assert summary == ""
    assert (installed / ".env").read_bytes() == before


def test_draft_keeps_values_and_own_lines_unchanged(clone):
    mine = "# my   own note\t\n\nMY_OWN='a b'  \nREDIS_PASSWORD=chosen\nAIRFLOW_PORT=9\n"
    (clone / ".env").write_text(mine + "POSTGRES_PASSWORD=\n")
    text, summary = draft_env(Project(clone, os.environ))
    assert text.startswith(mine)
    assert re.search(r"^POSTGRES_PASSWORD=\S{20}", text, re.MULTILINE)
    assert summary == "Appended new settings to .env."


ODD_VALUES = ["0", "'$(rm -rf)'", '" x "', "#not=a;comment%  ", "'C:\\x'", "'\"'", "ö😀\t"]


def odd_env(root, end):
    """Return a .env with odd values in all settings, in reverse order, and own lines."""
    example = (root / ".env.example").read_text(encoding="utf-8")
    names = [*reversed(envfile.parse(example)), "MY_OWN"]
    lines = [f"{name}={ODD_VALUES[number % len(ODD_VALUES)]}" for number, name in enumerate(names)]
    return end.join(["# mine,  kept \t", "", *lines, " \t", " # BLANK="])


@pytest.mark.parametrize("end", ["\n", "\r\n"], ids=["LF", "CRLF"])
@pytest.mark.parametrize("last", [True, False], ids=["newline at the end", "none at the end"])
def test_draft_keeps_odd_values_unchanged(clone, end, last):
    before = (odd_env(clone, end) + end * last).encode()
    (clone / ".env").write_bytes(before)
    text, summary = draft_env(Project(clone, os.environ))
    Project(clone, os.environ).write_env(text, "docker")
    assert (clone / ".env").read_bytes() == before
    assert summary == ""


@pytest.mark.parametrize("line", [b"rubbish", b"KEY: value", b"\x00\x01", b"A=\xff"])
def test_malformed_line_is_reported_and_file_is_unchanged(installed, line):
    path = installed / ".env"
    before = b"# one\r\n" + line + b"\n" + path.read_bytes()
    path.write_bytes(before)
    project = Project(installed, os.environ)
    for read in (lambda: draft_env(project), project.keys_are_new, project.settings):
        with pytest.raises(StackError, match="line 2: "):
            read()
    assert path.read_bytes() == before


def test_draft_fills_blanks_and_keeps_other_lines(clone):
    around = b"MINE=1 \r\n%b\r\n\r\n  # note\r\nREDIS_PASSWORD='x'\r\n"
    (clone / ".env").write_bytes(around % b'POSTGRES_PASSWORD=""')
    Project(clone, os.environ).write_env(draft_env(Project(clone, os.environ))[0], "docker")
    after = (clone / ".env").read_bytes()
    filled = re.search(rb"^POSTGRES_PASSWORD=[\w-]{20,}", after, re.MULTILINE)
    assert after.startswith(around % filled[0])


def test_upgrade_appends_missing_settings_only(installed):
    path = installed / ".env"
    before = path.read_text().replace("STATUS_PORT=8081\n", "") + "MINE='1' \t"
    path.write_text(before)
    text, _ = draft_env(Project(installed, os.environ))
    assert text == f"{before}\n\n# added by an upgrade\nSTATUS_PORT=8081\n"


def test_upgrade_appends_new_settings_once(installed):
    example = installed / ".env.example"
    example.write_text(f"{example.read_text()}\n# how many moons\nMOONS=\nSUNS=1\n")
    Project(installed, os.environ).write_env(draft_env(Project(installed, os.environ))[0], "docker")
    once = (installed / ".env").read_bytes()
    text, summary = draft_env(Project(installed, os.environ))
    Project(installed, os.environ).write_env(text, "docker")
    assert summary == ""
    assert (installed / ".env").read_bytes() == once
    assert once.count(b"MOONS=") == once.count(b"# how many moons") == once.count(b"SUNS=") == 1


LINES = st.from_regex(
    r"[ ]?(REDIS_PASSWORD|AIRFLOW_UID|WORKER_CONCURRENCY|MINE|AIRFLOW_PORT)[ ]?=[ ]?"
    r"('[^'\n]*'|\"[^\"\n]*\"|auto|[^\n]*)\r?|#[^\n]*|",
    fullmatch=True,
)
ACCEPTED = st.lists(LINES.filter(lambda line: not envfile.line_error(line))).map("\n".join)


@pytest.fixture(scope="module")
def shared_clone(tmp_path_factory):
    """A clone in which every example overwrites .env."""
    root = tmp_path_factory.mktemp("clone")
    (root / ".env.example").write_bytes((REPO / ".env.example").read_bytes())
    return root


@hypothesis.settings(
    max_examples=25, deadline=None, derandomize=bool(os.environ.get("CI")), database=None
)
@hypothesis.given(text=ACCEPTED)
def test_draft_of_any_file_keeps_values_and_is_idempotent(shared_clone, text):
    path = shared_clone / ".env"
    path.write_bytes(text.encode())
    once, _ = draft_env(Project(shared_clone, os.environ))
    path.write_bytes(once.encode())
    assert draft_env(Project(shared_clone, os.environ)) == (once, "")
    for old, new in zip(text.split("\n"), once.split("\n"), strict=False):
        is_open = set(envfile.parse(old).values()) & {"", "auto"}
        assert is_open or new.removesuffix("\r") == old.removesuffix("\r")
        assert new.endswith("\r") or not old.endswith("\r")


def test_upgrade_appends_new_settings_with_comment(installed):
    example = installed / ".env.example"
    example.write_text(f"{example.read_text()}\n# how many moons\nMOONS=1\n")
    before = (installed / ".env").read_text()
    text, summary = draft_env(Project(installed, os.environ))
    assert text == f"{before}\n# added by an upgrade\n# how many moons\nMOONS=1\n"
    assert summary == "Appended new settings to .env."


def test_draft_of_copied_example_fills_blanks(clone):
    (clone / ".env").write_text((clone / ".env.example").read_text())
    text, summary = draft_env(Project(clone, os.environ))
    assert Settings.from_text(text, clone, {}).project == Project(clone, {}).name
    assert summary == "Filled in blank settings of .env."


def test_draft_fills_file_with_windows_line_endings(clone):
    example = (clone / ".env.example").read_bytes()
    (clone / ".env").write_bytes(example.replace(b"\n", b"\r\n"))
    text, _ = draft_env(Project(clone, os.environ))
    settings = Settings.from_text(text, clone, {})
    assert settings["AIRFLOW_PORT"] == "8080"
    assert all(settings[name] for name in SECRETS)


@pytest.mark.parametrize("line", ['REDIS_PASSWORD=""', "REDIS_PASSWORD=''", "REDIS_PASSWORD = "])
def test_draft_fills_every_form_of_blank(clone, line):
    example = (clone / ".env.example").read_text()
    (clone / ".env").write_text(example.replace("REDIS_PASSWORD=", line))
    text, _ = draft_env(Project(clone, os.environ))
    assert Settings.from_text(text, clone, {})["REDIS_PASSWORD"]


def test_draft_replaces_quoted_auto(clone):
    example = (clone / ".env.example").read_text()
    (clone / ".env").write_text(
        example.replace("WORKER_CONCURRENCY=auto", 'WORKER_CONCURRENCY="auto"')
    )
    text, _ = draft_env(Project(clone, os.environ))
    assert Settings.from_text(text, clone, {})["WORKER_CONCURRENCY"].isdigit()


def test_project_name_depends_on_folder(tmp_path):
    one, two = tmp_path / "a" / "stack", tmp_path / "b" / "stack"
    assert Project(one, {}).name == Project(one, {}).name
    assert Project(one, {}).name != Project(two, {}).name


@pytest.mark.parametrize("folder", ["stack", "My Stack (2)", "___", "Ünï", "-x-", "7up"])
def test_project_name_is_valid_for_compose(tmp_path, folder):
    assert re.fullmatch(r"[a-z0-9][a-z0-9_-]*", Project(tmp_path / folder, {}).name)


@pytest.mark.parametrize(("caller", "uid"), [(0, "50000"), (1000, "1000")])
def test_draft_sets_uid_of_caller_but_not_root(make_settings, monkeypatch, caller, uid):
    monkeypatch.setattr(os, "getuid", lambda: caller)
    assert make_settings()["AIRFLOW_UID"] == uid
