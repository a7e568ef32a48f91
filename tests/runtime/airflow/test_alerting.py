"""Test alerts with real HTTP and SMTP servers on this machine, some of which fail."""

import datetime
import email.policy
import ipaddress
import logging
import re
import socket
import ssl
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler
from typing import Any

import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from stack_runtime.airflow import alerting
from stack_runtime.airflow.alerting import Alert, configured, send
from tests.support.http_stub import HttpStub, unused_port

ALERT = Alert("Drift in flights", ["carrier: 0.31", "origin: 0.27"], {"report": "http://af/r?a=1"})
SECRETS = ("T0SECRET", "B0SECRET", "querysecret")
PATH = "/services/T0SECRET/B0SECRET?key=querysecret"
PASSWORD = "correct horse"  # pragma: allowlist secret
SETTINGS = ("ALERT_WEBHOOK_URL", "ALERT_EMAIL_TO", "ALERT_EMAIL_FROM", "SMTP_HOST", "SMTP_PORT")
SETTINGS += ("SMTP_SECURITY", "SMTP_USER", "SMTP_PASSWORD", "HTTP_PROXY", "http_proxy", "ALL_PROXY")


@pytest.fixture(autouse=True)
def clean_settings(monkeypatch, caplog):
    """Provide an environment without alert settings, with quick retries and a complete log."""
    for name in SETTINGS:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(alerting, "RETRY_AFTER_SECONDS", 0.01)
    caplog.set_level(logging.DEBUG)


class WebhookServer(HttpStub):
    """Serve a webhook that answers with the functions in `replies`, and with ok after them."""

    def __init__(self):
        super().__init__()
        self.replies: list[Callable[[BaseHTTPRequestHandler], None]] = []
        self.host = f"127.0.0.1:{self.port}"
        # Some tests make the sender close the connection, which is no error here.
        self.server.handle_error = lambda *_: None

    @property
    def messages(self):
        return [(request.target, request.body) for request in self.requests]

    def answer_to(self, request):
        return self.replies.pop(0) if self.replies else response(200, "ok")


def response(status, body="", **headers):
    """Return a function that answers a request."""

    def answer(hook):
        hook.send_response(status)
        for name, value in headers.items():
            hook.send_header(name, value)
        hook.end_headers()
        hook.wfile.write(body.encode())

    return answer


def slow_response(first_bytes):
    """Return a function that sends the first bytes of an answer, and then single bytes slowly."""

    def answer(hook):
        hook.wfile.write(first_bytes)
        for _ in range(60):
            hook.wfile.write(b"x")
            time.sleep(0.02)

    return answer


@pytest.fixture
def web(monkeypatch):
    """Provide a working webhook, and set its address."""
    with WebhookServer() as server:
        monkeypatch.setenv("ALERT_WEBHOOK_URL", f"http://{server.host}{PATH}")
        yield server


class MailServer(Controller):
    """Serve mail on a free port, record envelopes and logins, refuse recipients named nobody."""

    def __init__(self, **options):
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.messages: list[Any] = []
        self.logins: list[bytes] = []
        self.refusal: str | None = None
        super().__init__(
            self,
            "127.0.0.1",
            self.socket.getsockname()[1],
            server_hostname="mail.test",
            authenticator=self.authenticate,
            **options,
        )

    def _create_server(self):
        return self.loop.create_server(
            self._factory_invoker, sock=self.socket, ssl=self.ssl_context
        )

    def authenticate(self, server, session, envelope, how, data):
        self.logins.append(data.password)
        right = data.password == PASSWORD.encode()
        return AuthResult(success=right, handled=False, message=self.refusal)

    async def handle_RCPT(self, server, session, envelope, to, _):
        if to.startswith("nobody"):
            return "550 no such user"
        envelope.rcpt_tos.append(to)
        return "250 OK"

    async def handle_DATA(self, server, session, envelope):
        self.messages.append(envelope)
        return "250 OK"


def use_mail_server(port, monkeypatch):
    """Set the address of a mail server on this machine."""
    monkeypatch.setenv("ALERT_EMAIL_TO", "ops@example.com")
    monkeypatch.setenv("SMTP_HOST", "127.0.0.1")
    monkeypatch.setenv("SMTP_PORT", str(port))


@pytest.fixture
def serve_mail(monkeypatch):
    """Provide a function that starts a mail server with `options` and sets its address."""
    servers: list[MailServer] = []

    def serve(security, password="", **options):
        servers.append(MailServer(**options))
        servers[-1].start()
        use_mail_server(servers[-1].port, monkeypatch)
        monkeypatch.setenv("SMTP_SECURITY", security)
        if password:
            monkeypatch.setenv("SMTP_USER", "me")
            monkeypatch.setenv("SMTP_PASSWORD", password)
        return servers[-1]

    yield serve
    for server in servers:
        server.stop()


@pytest.fixture
def mail(serve_mail):
    """Provide a working mail server, and set its address."""
    return serve_mail("none")


@pytest.fixture(scope="session")
def certificate(tmp_path_factory):
    """Return a file with a key and a self-signed certificate for 127.0.0.1."""
    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.datetime.now(datetime.UTC)
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "mail.test")])
    local = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    cert = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(local, critical=False)
        .sign(key, hashes.SHA256())
    )
    pem, plain = serialization.Encoding.PEM, serialization.NoEncryption()
    file = tmp_path_factory.mktemp("tls") / "mail.pem"
    file.write_bytes(
        key.private_bytes(pem, serialization.PrivateFormat.PKCS8, plain) + cert.public_bytes(pem)
    )
    return file


@pytest.fixture
def tls(certificate):
    """Return the TLS context of a server with this certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    return context


@pytest.fixture
def closed_port():
    """Return a port on which nothing listens."""
    return unused_port()


@pytest.fixture
def silent_port(monkeypatch):
    """Provide a port that accepts connections but never answers, and a limit of half a second."""
    monkeypatch.setattr(alerting, "DELIVERY_SECONDS", 0.5)
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def body(mail):
    return email.message_from_bytes(mail.messages[-1].content, policy=email.policy.default)


def levels(caplog):
    return [(r.levelno, r.getMessage()) for r in caplog.records if r.name == alerting.__name__]


# The log


@pytest.mark.parametrize("value", [None, " "], ids=["unset", "blank"])
def test_send_without_settings_only_logs_warning(value, monkeypatch, caplog):
    for name in SETTINGS if value else ():
        monkeypatch.setenv(name, value)
    assert configured() == []
    assert send(ALERT) == []
    message = "Drift in flights\ncarrier: 0.31\norigin: 0.27\nreport: http://af/r?a=1"
    assert levels(caplog) == [(logging.WARNING, message)]


def test_send_invalid_alert_reports_error():
    assert send(None) == ["alert not sent: AttributeError"]


def test_send_logs_alert_and_outcome(web, caplog):
    web.replies = [response(404)]
    lines = send(ALERT) + send(ALERT)
    logged = levels(caplog)
    assert [level for level, _ in logged] == [logging.WARNING] * 3 + [logging.INFO]
    assert [message for _, message in logged[1::2]] == lines


# The webhook


def test_webhook_receives_slack_message(web):
    assert send(ALERT) == [f"webhook {web.host}: delivered"]
    assert configured() == [f"webhook {web.host}"]
    text = "*Drift in flights*\ncarrier: 0.31\norigin: 0.27\n<http://af/r?a=1|report>"
    assert web.messages == [(PATH, {"text": text})]


@pytest.mark.parametrize(
    ("alert", "text"),
    [
        (Alert("a < b & c", ["<!channel> &amp;"], {"x>y": "http://af/?a=1&b=2|3"}),
         "*a &lt; b &amp; c*\n&lt;!channel&gt; &amp;amp;\n<http://af/?a=1&amp;b=2%7C3|x&gt;y>"),
        (Alert("two\nlines", ["a\r\nb\x1b[31m", "c"]), "*two lines*\na b [31m\nc"),
        (Alert("Verspätung – 遅延 ✈"), "*Verspätung – 遅延 ✈*"),
    ],
    ids=["markup", "lines", "non-ascii"],
)  # fmt: skip
def test_webhook_text_is_escaped(web, alert, text):
    send(alert)
    assert web.messages[-1][1]["text"] == text


@pytest.mark.parametrize("status", [500, 503, 429])
def test_webhook_transient_failure_is_retried_once(web, status):
    web.replies = [response(status)]
    assert send(ALERT) == [f"webhook {web.host}: delivered"]
    web.replies = [response(status, "sorry"), response(status, "sorry")]
    assert send(ALERT) == [f"webhook {web.host}: not delivered: HTTP {status}: sorry"]
    assert len(web.messages) == 4


@pytest.mark.parametrize(
    ("replies", "reason"),
    [
        ([response(404, "no_service\n" + "x" * 200)], f"HTTP 404: no_service {'x' * 89}"),
        # Only the failure of the last attempt is reported.
        ([lambda hook: hook.connection.close(), response(404)], "HTTP 404"),
        ([lambda hook: None] * 2, "connection closed"),
    ],
)
def test_webhook_failure_is_reported(web, replies, reason):
    web.replies = list(replies)
    assert send(ALERT) == [f"webhook {web.host}: not delivered: {reason}"]
    assert len(web.messages) == len(replies)


def test_webhook_redirect_is_not_followed(web):
    for status in (301, 302, 307):
        web.replies = [response(status, Location=f"http://{web.host}/elsewhere")]
        assert send(ALERT) == [f"webhook {web.host}: not delivered: HTTP {status}"]
    assert {path for path, _ in web.messages} == {PATH}


@pytest.mark.parametrize(
    ("address", "reason"),
    [
        ("http://127.0.0.1:{closed}", "connection refused"),
        ("http://T0SECRET@127.0.0.1:{closed}", "connection refused"),
        ("http://me:T0SECRET@127.0.0.1:{closed}", "connection refused"),  # pragma: allowlist secret
        ("https://hooks.invalid", "name not known"),
        ("https://127.0.0.1:{open}", "TLS: .+"),
        ("http://127.0.0.1:99999", "a wrong or non-ASCII address.*"),
        ("http://a..b", "a wrong or non-ASCII address.*"),
    ],
)
def test_webhook_unreachable_is_reported_without_secret(
    web, closed_port, monkeypatch, caplog,
    address, reason,
):  # fmt: skip
    url = address.format(closed=closed_port, open=web.port)
    monkeypatch.setenv("ALERT_WEBHOOK_URL", f"{url}{PATH}")
    [line] = send(ALERT)
    host = re.escape(re.split("//|@", url)[-1])
    assert re.fullmatch(f"webhook {host}: not delivered: {reason}", line)
    output = " ".join([line, *configured(), caplog.text])
    assert not [secret for secret in SECRETS if secret in output]


@pytest.mark.parametrize(
    "url",
    [
        "ftp://example.com/T0SECRET",
        "hooks.slack.com/T0SECRET",
        "https:/hooks.slack.com/T0SECRET",
        "https://hooks.slack.com:T0SECRET/x",
        "https://[::1/T0SECRET",
        r"https://hooks.slack.com\T0SECRET",
        r"https://hooks.slack.com\T0SECRET@elsewhere/x",
        "https://",
    ],
)
def test_webhook_invalid_address_is_reported_but_not_shown(monkeypatch, url):
    monkeypatch.setenv("ALERT_WEBHOOK_URL", url)
    assert configured() == ["webhook"]
    assert send(ALERT) == [
        "webhook: not delivered: ALERT_WEBHOOK_URL is not an http or https address"
    ]


# Limits


def test_send_silent_receivers_stops_at_limit(monkeypatch, silent_port):
    monkeypatch.setenv("ALERT_WEBHOOK_URL", f"http://127.0.0.1:{silent_port}{PATH}")
    use_mail_server(silent_port, monkeypatch)
    start = time.monotonic()
    assert send(ALERT) == [
        f"webhook 127.0.0.1:{silent_port}: not delivered: no answer within 0.5 s",
        "e-mail ops@example.com: not delivered: no answer within 0.5 s",
    ]
    assert 0.4 < time.monotonic() - start < 1


@pytest.mark.parametrize(
    ("first_bytes", "outcome"),
    [
        (b"HTTP/1.1 200 OK\r\nX: ", "not delivered: no answer within 0.5 s"),
        # The status alone means success, so send does not wait for the body.
        (b"HTTP/1.1 200 OK\r\n\r\n", "delivered"),
    ],
)
def test_send_slow_receiver_stops_at_limit(web, silent_port, first_bytes, outcome):
    web.replies = [slow_response(first_bytes)]
    start = time.monotonic()
    assert send(ALERT) == [f"webhook {web.host}: {outcome}"]
    assert time.monotonic() - start < 1


def test_send_failure_after_limit_is_not_retried(web, monkeypatch):
    def fail_late(hook):
        time.sleep(0.2)
        response(500)(hook)

    monkeypatch.setattr(alerting, "DELIVERY_SECONDS", 0.1)
    web.replies = [fail_late]
    assert send(ALERT) == [f"webhook {web.host}: not delivered: no answer within 0.1 s"]
    time.sleep(0.4)
    assert len(web.messages) == 1


def test_webhook_timeout_of_socket_is_reported(monkeypatch, silent_port):
    monkeypatch.setenv("ALERT_WEBHOOK_URL", f"http://127.0.0.1:{silent_port}{PATH}")
    monkeypatch.setattr(alerting, "DELIVERY_SECONDS", 5)
    monkeypatch.setitem(alerting.POSTING, "timeout", (0.1, 0.1))
    assert send(ALERT) == [f"webhook 127.0.0.1:{silent_port}: not delivered: no answer in time"]


# Secrets


@pytest.mark.parametrize(
    "answer",
    [
        response(200),
        response(404, f"Cannot POST {PATH}"),
        response(404, f"cannot post {PATH.lower()}"),
        response(404, "y" * 95 + "T0SECRET"),
        response(302, PATH, Location=PATH),
        lambda hook: None,
    ],
)
def test_webhook_secret_is_not_shown_or_logged(web, answer, caplog):
    web.replies = [answer, answer]
    output = " ".join([*send(ALERT), *configured(), caplog.text]).lower()
    assert web.host in output
    assert not [secret for secret in SECRETS if secret[:4].lower() in output]


@pytest.mark.parametrize(
    "echo", ["T0SECRET", "t0secret", "S3+CRET", "S3%2BCRET", "S3&#43;CRET", "s3%2bcret", PATH]
)
def test_webhook_answer_with_secret_is_not_quoted(web, echo, monkeypatch):
    monkeypatch.setenv("ALERT_WEBHOOK_URL", f"http://{web.host}{PATH}&more=S3+CRET")
    web.replies = [response(404, f"Cannot POST {echo}.")]
    assert send(ALERT) == [f"webhook {web.host}: not delivered: HTTP 404"]


def test_other_http_requests_are_still_logged(web, caplog):
    import requests

    requests.get(f"http://{web.host}/theirs", timeout=5)
    assert "/theirs" in caplog.text


# E-mail


def test_email_contains_facts_and_links(mail, monkeypatch):
    monkeypatch.setenv("ALERT_EMAIL_TO", "ops@example.com, Dev <dev@example.com>,")
    assert configured() == ["e-mail ops@example.com, Dev <dev@example.com>"]
    assert send(ALERT) == ["e-mail ops@example.com, Dev <dev@example.com>: delivered"]
    assert mail.messages[0].rcpt_tos == ["ops@example.com", "dev@example.com"]
    assert mail.messages[0].mail_from == f"airflow@{socket.gethostname()}"
    assert body(mail)["Subject"] == "Drift in flights"
    assert body(mail)["Date"]
    assert body(mail).get_content().splitlines() == [
        "carrier: 0.31",
        "origin: 0.27",
        "",
        "report: http://af/r?a=1",
    ]


def test_send_delivers_to_webhook_and_email(web, mail):
    names = [f"webhook {web.host}", "e-mail ops@example.com"]
    assert configured() == names
    assert send(ALERT) == [f"{name}: delivered" for name in names]
    assert (len(web.messages), len(mail.messages)) == (1, 1)


def test_send_one_receiver_down_delivers_to_other(mail, monkeypatch, closed_port):
    monkeypatch.setenv("ALERT_WEBHOOK_URL", f"http://127.0.0.1:{closed_port}{PATH}")
    assert [line.partition(": ")[2] for line in send(ALERT)] == [
        "not delivered: connection refused",
        "delivered",
    ]
    assert len(mail.messages) == 1


def test_email_title_cannot_add_headers(mail):
    send(Alert("Hello\r\nBcc: thief@example.com\n\nbody", ["x"]))
    assert body(mail)["Subject"] == "Hello Bcc: thief@example.com body"
    assert body(mail)["Bcc"] is None
    assert mail.messages[0].rcpt_tos == ["ops@example.com"]


def test_email_non_ascii_title_arrives(mail, monkeypatch):
    monkeypatch.setenv("ALERT_EMAIL_FROM", "Wächter <alerts@example.com>")
    send(Alert("Verspätung – 遅延 ✈" * 9, ["größer"]))
    assert body(mail)["Subject"] == "Verspätung – 遅延 ✈" * 9
    assert body(mail)["From"] == "Wächter <alerts@example.com>"
    assert body(mail).get_content().splitlines()[0] == "größer"
    assert mail.messages[0].content.isascii()


def test_email_refused_recipient_is_reported(mail, monkeypatch):
    monkeypatch.setenv("ALERT_EMAIL_TO", "ops@example.com,nobody@example.com")
    [line] = send(ALERT)
    assert line.endswith("delivered, but not to nobody@example.com")
    assert len(mail.messages) == 1
    monkeypatch.setenv("ALERT_EMAIL_TO", "nobody@example.com")
    assert send(ALERT) == ["e-mail nobody@example.com: not delivered: refused: nobody@example.com"]


@pytest.fixture(params=["starttls", "tls"])
def tls_mail(request, serve_mail, tls):
    """Provide a mail server with TLS, and set its address, user and password."""
    context_option = {"starttls": "tls_context", "tls": "ssl_context"}[request.param]
    tls_required = request.param == "starttls"
    return serve_mail(
        request.param, PASSWORD, **{context_option: tls}, auth_require_tls=tls_required
    )


def test_email_verified_server_receives_login_and_message(tls_mail, certificate, monkeypatch):
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    assert send(ALERT) == ["e-mail ops@example.com: delivered"]
    assert (tls_mail.logins, len(tls_mail.messages)) == ([PASSWORD.encode()], 1)


def test_email_untrusted_server_receives_nothing(tls_mail):
    assert send(ALERT) == ["e-mail ops@example.com: not delivered: TLS: self-signed certificate"]
    assert (tls_mail.logins, tls_mail.messages) == ([], [])


def test_email_server_without_starttls_receives_nothing(serve_mail):
    mail = serve_mail("", PASSWORD, auth_require_tls=False)
    assert send(ALERT) == [
        "e-mail ops@example.com: not delivered: STARTTLS extension not supported by server."
    ]
    assert (mail.logins, mail.messages) == ([], [])


@pytest.mark.parametrize(
    ("password", "refusal", "reason"),
    [
        ("wrong donkey", None, "SMTP 535: 5.7.8 Authentication credentials invalid"),
        ("grüner Esel", None, "a wrong or non-ASCII address, SMTP_USER or SMTP_PASSWORD"),
        # An answer that repeats the password is not quoted.
        ("wrong donkey", "535 not Wrong Donkey", "SMTP 535"),
    ],
)
def test_email_wrong_password_is_reported_but_not_shown(
    serve_mail, caplog,
    password, refusal, reason,
):  # fmt: skip
    mail = serve_mail("none", password, auth_require_tls=False)
    mail.refusal = refusal
    assert send(ALERT) == [f"e-mail ops@example.com: not delivered: {reason}"]
    assert not [message for _, message in levels(caplog) if password in message]
    assert mail.messages == []


@pytest.mark.parametrize(
    ("setting", "reason"),
    [
        ({}, "connection refused"),
        ({"SMTP_HOST": ""}, "SMTP_HOST is not set"),
        ({"SMTP_PORT": "smtp"}, "SMTP_PORT is not a number from 1 to 65535"),
        ({"SMTP_PORT": "70000"}, "SMTP_PORT is not a number from 1 to 65535"),
        ({"SMTP_SECURITY": "ssl"}, "SMTP_SECURITY is none of starttls, tls and none"),
    ],
)
def test_email_server_down_or_wrong_setting_is_reported(setting, reason, monkeypatch, closed_port):
    use_mail_server(closed_port, monkeypatch)
    for name, value in setting.items():
        monkeypatch.setenv(name, value)
    assert send(ALERT) == [f"e-mail ops@example.com: not delivered: {reason}"]
