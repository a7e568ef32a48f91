"""Test Airflow's e-mails with the mail server of .env, against a real one."""

import os
import ssl
import subprocess
import sys

import pytest
from airflow.sdk import task

from tests.runtime.airflow.mailbox import Mailbox, html
from tests.runtime.airflow.runner import Api, in_runner, run
from tests.runtime.airflow.supervised import CONFIG, patched_supervisor, runtime
from tests.support.process import run as process_run

CONNECTION = "AIRFLOW_CONN_SMTP_DEFAULT"
SETTINGS = ("SMTP_HOST", "SMTP_PORT", "SMTP_SECURITY", "SMTP_USER", "SMTP_PASSWORD")
BACKEND = ("AIRFLOW__EMAIL__EMAIL_BACKEND", "stack_runtime.airflow.mail.send_email")
PASSWORD = 'a " \\ % $b {ü} /@'  # pragma: allowlist secret


@pytest.fixture
def supervisor():
    return patched_supervisor()


@pytest.fixture
def configure(supervisor, monkeypatch):
    """Return a function that applies settings of .env, as the start of a service does."""
    for name in (CONNECTION, "ALERT_EMAIL_FROM", *SETTINGS):
        monkeypatch.setenv(name, "")
    monkeypatch.delenv(CONNECTION)

    def apply(**settings):
        for name, value in settings.items():
            monkeypatch.setenv(name, str(value))
        runtime("airflow.mail").provide_connection()

    return apply


def connected_hook():
    """Return Airflow's hook for the connection, not yet connected to the server."""
    from airflow.providers.smtp.hooks.smtp import SmtpHook

    hook = SmtpHook()
    hook.smtp_connection = hook.get_connection("smtp_default")
    return hook


@pytest.mark.parametrize(
    ("settings", "port", "tls", "starttls"),
    [
        ({}, 587, False, True),
        ({"SMTP_SECURITY": "starttls", "SMTP_PORT": "2525"}, 2525, False, True),
        ({"SMTP_SECURITY": "tls"}, 465, True, False),
        ({"SMTP_SECURITY": "none"}, 25, False, False),
    ],
)
def test_settings_become_the_connection(configure, settings, port, tls, starttls):
    account = {"SMTP_USER": "me", "SMTP_PASSWORD": PASSWORD, "ALERT_EMAIL_FROM": "us@example.org"}
    configure(SMTP_HOST="mail.example.org", **account, **settings)
    hook = connected_hook()
    assert (hook.host, hook.port) == ("mail.example.org", port)
    assert (hook.use_ssl, hook.smtp_starttls) == (tls, starttls)
    assert (hook.smtp_user, hook.smtp_password) == ("me", PASSWORD)
    assert hook.from_email == "us@example.org"


def test_sender_defaults_to_this_host(configure):
    configure(SMTP_HOST="mail.example.org")
    assert connected_hook().from_email.startswith("airflow@")


def test_connection_exists_only_with_mail_server_and_keeps_existing_one(configure, monkeypatch):
    configure()
    assert not runtime("airflow.mail").os.environ.get(CONNECTION)
    monkeypatch.setenv(CONNECTION, "smtp://mine.example.org:2525")
    configure(SMTP_HOST="mail.example.org")
    assert connected_hook().host == "mine.example.org"


def test_every_process_of_airflow_has_the_connection():
    code = "import os; from airflow import settings; print(os.environ[CONNECTION])"
    code = code.replace("CONNECTION", repr(CONNECTION))
    environment = {**os.environ, "PYTHONPATH": str(CONFIG), "SMTP_HOST": "mail.example.org"}
    process = process_run(sys.executable, "-P", "-c", code, env=environment)
    assert "mail.example.org" in process.stdout, process.stderr[-2000:]


def test_mail_of_failed_task_links_to_its_log(supervisor, configure, monkeypatch):
    monkeypatch.setenv(*BACKEND)
    monkeypatch.setenv("AIRFLOW_PUBLIC_URL", "http://10.0.0.1:8090")

    def define_tasks():
        @task(task_id="t", email=["you@example.org", "we@example.org"], retries=0)
        def fail():
            raise ValueError("mould")

        fail()

    api = Api()
    with Mailbox() as server:
        configure(SMTP_HOST="127.0.0.1", SMTP_PORT=server.port, SMTP_SECURITY="none",
                  ALERT_EMAIL_FROM="us@example.org")  # fmt: skip
        run(supervisor, in_runner(define_tasks), api)
    assert api.states == ["failed"]
    [mail] = server.mails
    assert (mail["From"], mail["To"]) == ("us@example.org", "you@example.org, we@example.org")
    assert "mould" in html(mail)
    link = "http://10.0.0.1:8090/dags/d/runs/r/tasks/t?try_number=1"
    assert f'Log: <a href="{link}">' in html(mail)


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    """Return the files of a self-signed certificate for 127.0.0.1 and of its key."""
    folder = tmp_path_factory.mktemp("tls")
    files = folder / "own.pem", folder / "own.key"
    options = ["-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=own"]
    options += ["-addext", "subjectAltName=IP:127.0.0.1", "-out", files[0], "-keyout", files[1]]
    subprocess.run(["openssl", "req", "-x509", *options], check=True, capture_output=True)
    return files


@pytest.fixture
def tls_server(certificate):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)
    with Mailbox(tls_context=context, require_starttls=True) as server:
        yield server


def send():
    runtime("airflow.mail").send_email("you@example.org", "greeting", "hello")


def test_server_without_trusted_certificate_gets_no_mail(configure, tls_server):
    configure(SMTP_HOST="127.0.0.1", SMTP_PORT=tls_server.port)
    with pytest.raises(ssl.SSLCertVerificationError):
        send()
    assert tls_server.mails == []


def test_server_with_trusted_certificate_gets_mail(configure, tls_server, certificate, monkeypatch):
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate[0]))
    configure(SMTP_HOST="127.0.0.1", SMTP_PORT=tls_server.port)
    send()
    assert [mail["Subject"] for mail in tls_server.mails] == ["greeting"]


def test_connection_can_disable_the_verification(configure, tls_server, monkeypatch):
    options = "disable_ssl=true&ssl_context=none&from_email=us@example.org"
    monkeypatch.setenv(CONNECTION, f"smtp://127.0.0.1:{tls_server.port}?{options}")
    configure()
    send()
    assert len(tls_server.mails) == 1
