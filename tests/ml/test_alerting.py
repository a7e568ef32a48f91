"""Alerts against real receivers on this machine: HTTP and SMTP, healthy and not."""

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
from ml import alerting
from ml.alerting import Alert, configured, send

from tests.support.http_stub import HttpStub, unused_port

ALERT = Alert("Drift in flights", ["carrier: 0.31", "origin: 0.27"], {"report": "http://af/r?a=1"})
SECRETS = ("T0SECRET", "B0SECRET", "querysecret")
PATH = "/services/T0SECRET/B0SECRET?key=querysecret"
PASSWORD = "correct horse"  # pragma: allowlist secret
SETTINGS = ("ALERT_WEBHOOK_URL", "ALERT_EMAIL_TO", "ALERT_EMAIL_FROM", "SMTP_HOST", "SMTP_PORT")
SETTINGS += ("SMTP_SECURITY", "SMTP_USER", "SMTP_PASSWORD", "HTTP_PROXY", "http_proxy", "ALL_PROXY")


@pytest.fixture(autouse=True)
def nothing_set(monkeypatch, caplog):
    for name in SETTINGS:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(alerting, "RETRY_AFTER_SECONDS", 0.01)
    caplog.set_level(logging.DEBUG)


class Web(HttpStub):
    """A webhook: answers by the functions in `replies`, then with ok."""

    def __init__(self):
        super().__init__()
        self.replies: list[Callable[[BaseHTTPRequestHandler], None]] = []
        self.host = f"127.0.0.1:{self.port}"
        # Whoever hangs up has lost patience, as tested.
        self.server.handle_error = lambda *_: None

    @property
    def got(self):
        return [(request.target, request.body) for request in self.requests]

    def answer_to(self, request):
        return self.replies.pop(0) if self.replies else says(200, "ok")


def says(status, body="", **headers):
    def answer(hook):
        hook.send_response(status)
        for name, value in headers.items():
            hook.send_header(name, value)
        hook.end_headers()
        hook.wfile.write(body.encode())

    return answer


def trickles(start):
    def answer(hook):
        hook.wfile.write(start)
        for _ in range(60):
            hook.wfile.write(b"x")
            time.sleep(0.02)

    return answer


@pytest.fixture
def web(monkeypatch):
    """A webhook that works and is set."""
    with Web() as server:
        monkeypatch.setenv("ALERT_WEBHOOK_URL", f"http://{server.host}{PATH}")
        yield server


class Mail(Controller):
    """A mail server on a free port: keeps envelopes and logins, refuses who is named nobody."""

    def __init__(self, **options):
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.got: list[Any] = []
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
        self.got.append(envelope)
        return "250 OK"


def send_to(port, monkeypatch):
    """Set a mail server of this machine."""
    monkeypatch.setenv("ALERT_EMAIL_TO", "ops@example.com")
    monkeypatch.setenv("SMTP_HOST", "127.0.0.1")
    monkeypatch.setenv("SMTP_PORT", str(port))


@pytest.fixture
def serve_mail(monkeypatch):
    """Start a mail server and set it; the rest of the options is its own."""
    started: list[Mail] = []

    def serve(security, password="", **options):
        started.append(Mail(**options))
        started[-1].start()
        send_to(started[-1].port, monkeypatch)
        monkeypatch.setenv("SMTP_SECURITY", security)
        if password:
            monkeypatch.setenv("SMTP_USER", "me")
            monkeypatch.setenv("SMTP_PASSWORD", password)
        return started[-1]

    yield serve
    for server in started:
        server.stop()


@pytest.fixture
def mail(serve_mail):
    """A mail server that works and is set."""
    return serve_mail("none")


@pytest.fixture(scope="session")
def certificate(tmp_path_factory):
    """A key and a certificate for 127.0.0.1 that nobody has signed but itself."""
    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.datetime.now(datetime.UTC)
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "mail.test")])
    local = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(local, critical=False)
        .sign(key, hashes.SHA256())
    )
    pem, plain = serialization.Encoding.PEM, serialization.NoEncryption()
    file = tmp_path_factory.mktemp("tls") / "mail.pem"
    file.write_bytes(
        key.private_bytes(pem, serialization.PrivateFormat.PKCS8, plain) + made.public_bytes(pem)
    )
    return file


@pytest.fixture
def tls(certificate):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    return context


@pytest.fixture
def closed_port():
    return unused_port()


@pytest.fixture
def silent_port(monkeypatch):
    """Takes connections and never says a word; the patience with it is half a second."""
    monkeypatch.setattr(alerting, "DELIVERY_SECONDS", 0.5)
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def body(mail):
    return email.message_from_bytes(mail.got[-1].content, policy=email.policy.default)


def levels(caplog):
    return [(r.levelno, r.getMessage()) for r in caplog.records if r.name == alerting.__name__]


# The log


@pytest.mark.parametrize("value", [None, " "], ids=["unset", "blank"])
def test_without_settings_an_alert_is_logged_as_a_warning_and_goes_nowhere_else(
    value, monkeypatch, caplog
):
    for name in SETTINGS if value else ():
        monkeypatch.setenv(name, value)
    assert configured() == []
    assert send(ALERT) == []
    words = "Drift in flights\ncarrier: 0.31\norigin: 0.27\nreport: http://af/r?a=1"
    assert levels(caplog) == [(logging.WARNING, words)]


def test_what_is_no_alert_at_all_is_said_and_not_raised():
    assert send(None) == ["alert not sent: AttributeError"]


def test_the_log_tells_the_alert_and_what_became_of_it(web, caplog):
    web.replies = [says(404)]
    lines = send(ALERT) + send(ALERT)
    logged = levels(caplog)
    assert [level for level, _ in logged] == [logging.WARNING] * 3 + [logging.INFO]
    assert [words for _, words in logged[1::2]] == lines


# The webhook


def test_a_webhook_gets_what_slack_understands(web):
    assert send(ALERT) == [f"webhook {web.host}: delivered"]
    assert configured() == [f"webhook {web.host}"]
    said = "*Drift in flights*\ncarrier: 0.31\norigin: 0.27\n<http://af/r?a=1|report>"
    assert web.got == [(PATH, {"text": said})]


@pytest.mark.parametrize(
    ("alert", "said"),
    [
        (Alert("a < b & c", ["<!channel> &amp;"], {"x>y": "http://af/?a=1&b=2|3"}),
         "*a &lt; b &amp; c*\n&lt;!channel&gt; &amp;amp;\n<http://af/?a=1&amp;b=2%7C3|x&gt;y>"),
        (Alert("two\nlines", ["a\r\nb\x1b[31m", "c"]), "*two lines*\na b [31m\nc"),
        (Alert("Verspätung – 遅延 ✈"), "*Verspätung – 遅延 ✈*"),
    ],
    ids=["markup", "lines", "non-ascii"],
)  # fmt: skip
def test_markup_is_escaped_facts_keep_to_their_lines_and_all_letters_arrive(web, alert, said):
    send(alert)
    assert web.got[-1][1]["text"] == said


@pytest.mark.parametrize("status", [500, 503, 429])
def test_what_may_pass_is_tried_once_more(web, status):
    web.replies = [says(status)]
    assert send(ALERT) == [f"webhook {web.host}: delivered"]
    web.replies = [says(status, "sorry"), says(status, "sorry")]
    assert send(ALERT) == [f"webhook {web.host}: not delivered: HTTP {status}: sorry"]
    assert len(web.got) == 4


@pytest.mark.parametrize(
    ("replies", "reason"),
    [
        ([says(404, "no_service\n" + "x" * 200)], f"HTTP 404: no_service {'x' * 89}"),
        # The second failure is told, and not the first.
        ([lambda hook: hook.connection.close(), says(404)], "HTTP 404"),
        ([lambda hook: None] * 2, "connection closed"),
    ],
)
def test_what_a_webhook_does_instead_of_saying_ok_is_told(web, replies, reason):
    web.replies = list(replies)
    assert send(ALERT) == [f"webhook {web.host}: not delivered: {reason}"]
    assert len(web.got) == len(replies)


def test_a_redirect_is_not_followed(web):
    for status in (301, 302, 307):
        web.replies = [says(status, Location=f"http://{web.host}/elsewhere")]
        assert send(ALERT) == [f"webhook {web.host}: not delivered: HTTP {status}"]
    assert {path for path, _ in web.got} == {PATH}


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
def test_a_webhook_that_is_not_reached_is_told_with_the_reason_and_without_its_secret(
    web, closed_port, monkeypatch, caplog,
    address, reason,
):  # fmt: skip
    given = address.format(closed=closed_port, open=web.port)
    monkeypatch.setenv("ALERT_WEBHOOK_URL", f"{given}{PATH}")
    [line] = send(ALERT)
    host = re.escape(re.split("//|@", given)[-1])
    assert re.fullmatch(f"webhook {host}: not delivered: {reason}", line)
    told = " ".join([line, *configured(), caplog.text])
    assert not [secret for secret in SECRETS if secret in told]


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
def test_a_wrong_address_is_said_and_not_shown(monkeypatch, url):
    monkeypatch.setenv("ALERT_WEBHOOK_URL", url)
    assert configured() == ["webhook"]
    assert send(ALERT) == [
        "webhook: not delivered: ALERT_WEBHOOK_URL is not an http or https address"
    ]


# Limits


def test_a_silent_receiver_costs_no_more_than_the_limit(monkeypatch, silent_port):
    monkeypatch.setenv("ALERT_WEBHOOK_URL", f"http://127.0.0.1:{silent_port}{PATH}")
    send_to(silent_port, monkeypatch)
    began = time.monotonic()
    assert send(ALERT) == [
        f"webhook 127.0.0.1:{silent_port}: not delivered: no answer within 0.5 s",
        "e-mail ops@example.com: not delivered: no answer within 0.5 s",
    ]
    assert 0.4 < time.monotonic() - began < 1


@pytest.mark.parametrize(
    ("start", "told"),
    [
        (b"HTTP/1.1 200 OK\r\nX: ", "not delivered: no answer within 0.5 s"),
        # The rest of a success is not waited for.
        (b"HTTP/1.1 200 OK\r\n\r\n", "delivered"),
    ],
)
def test_a_receiver_that_trickles_costs_no_more_than_the_limit(web, silent_port, start, told):
    web.replies = [trickles(start)]
    began = time.monotonic()
    assert send(ALERT) == [f"webhook {web.host}: {told}"]
    assert time.monotonic() - began < 1


def test_what_is_late_is_not_tried_again(web, monkeypatch):
    def fails_late(hook):
        time.sleep(0.2)
        says(500)(hook)

    monkeypatch.setattr(alerting, "DELIVERY_SECONDS", 0.1)
    web.replies = [fails_late]
    assert send(ALERT) == [f"webhook {web.host}: not delivered: no answer within 0.1 s"]
    time.sleep(0.4)
    assert len(web.got) == 1


def test_a_socket_that_waits_too_long_is_said(monkeypatch, silent_port):
    monkeypatch.setenv("ALERT_WEBHOOK_URL", f"http://127.0.0.1:{silent_port}{PATH}")
    monkeypatch.setattr(alerting, "DELIVERY_SECONDS", 5)
    monkeypatch.setitem(alerting.POSTING, "timeout", (0.1, 0.1))
    assert send(ALERT) == [f"webhook 127.0.0.1:{silent_port}: not delivered: no answer in time"]


# Secrets


@pytest.mark.parametrize(
    "answer",
    [
        says(200),
        says(404, f"Cannot POST {PATH}"),
        says(404, f"cannot post {PATH.lower()}"),
        says(404, "y" * 95 + "T0SECRET"),
        says(302, PATH, Location=PATH),
        lambda hook: None,
    ],
)
def test_the_secret_of_the_address_stands_in_no_line_and_no_log_record(web, answer, caplog):
    web.replies = [answer, answer]
    told = " ".join([*send(ALERT), *configured(), caplog.text]).lower()
    assert web.host in told
    assert not [secret for secret in SECRETS if secret[:4].lower() in told]


@pytest.mark.parametrize(
    "echo", ["T0SECRET", "t0secret", "S3+CRET", "S3%2BCRET", "S3&#43;CRET", "s3%2bcret", PATH]
)
def test_an_answer_that_repeats_the_secret_is_not_quoted(web, echo, monkeypatch):
    monkeypatch.setenv("ALERT_WEBHOOK_URL", f"http://{web.host}{PATH}&more=S3+CRET")
    web.replies = [says(404, f"Cannot POST {echo}.")]
    assert send(ALERT) == [f"webhook {web.host}: not delivered: HTTP 404"]


def test_what_others_post_is_logged_as_ever(web, caplog):
    import requests

    requests.get(f"http://{web.host}/theirs", timeout=5)
    assert "/theirs" in caplog.text


# E-mail


def test_an_email_holds_facts_and_links(mail, monkeypatch):
    monkeypatch.setenv("ALERT_EMAIL_TO", "ops@example.com, Dev <dev@example.com>,")
    assert configured() == ["e-mail ops@example.com, Dev <dev@example.com>"]
    assert send(ALERT) == ["e-mail ops@example.com, Dev <dev@example.com>: delivered"]
    assert mail.got[0].rcpt_tos == ["ops@example.com", "dev@example.com"]
    assert mail.got[0].mail_from == f"airflow@{socket.gethostname()}"
    assert body(mail)["Subject"] == "Drift in flights"
    assert body(mail)["Date"]
    assert body(mail).get_content().splitlines() == [
        "carrier: 0.31",
        "origin: 0.27",
        "",
        "report: http://af/r?a=1",
    ]


def test_webhook_and_email_both_get_it(web, mail):
    names = [f"webhook {web.host}", "e-mail ops@example.com"]
    assert configured() == names
    assert send(ALERT) == [f"{name}: delivered" for name in names]
    assert (len(web.got), len(mail.got)) == (1, 1)


def test_one_receiver_gets_it_though_the_other_is_down(mail, monkeypatch, closed_port):
    monkeypatch.setenv("ALERT_WEBHOOK_URL", f"http://127.0.0.1:{closed_port}{PATH}")
    assert [line.partition(": ")[2] for line in send(ALERT)] == [
        "not delivered: connection refused",
        "delivered",
    ]
    assert len(mail.got) == 1


def test_a_title_cannot_add_headers(mail):
    send(Alert("Hello\r\nBcc: thief@example.com\n\nbody", ["x"]))
    assert body(mail)["Subject"] == "Hello Bcc: thief@example.com body"
    assert body(mail)["Bcc"] is None
    assert mail.got[0].rcpt_tos == ["ops@example.com"]


def test_a_non_ascii_title_arrives_by_email(mail, monkeypatch):
    monkeypatch.setenv("ALERT_EMAIL_FROM", "Wächter <alerts@example.com>")
    send(Alert("Verspätung – 遅延 ✈" * 9, ["größer"]))
    assert body(mail)["Subject"] == "Verspätung – 遅延 ✈" * 9
    assert body(mail)["From"] == "Wächter <alerts@example.com>"
    assert body(mail).get_content().splitlines()[0] == "größer"
    assert mail.got[0].content.isascii()


def test_who_was_refused_is_told(mail, monkeypatch):
    monkeypatch.setenv("ALERT_EMAIL_TO", "ops@example.com,nobody@example.com")
    [line] = send(ALERT)
    assert line.endswith("delivered, but not to nobody@example.com")
    assert len(mail.got) == 1
    monkeypatch.setenv("ALERT_EMAIL_TO", "nobody@example.com")
    assert send(ALERT) == ["e-mail nobody@example.com: not delivered: refused: nobody@example.com"]


@pytest.fixture(params=["starttls", "tls"])
def tls_mail(request, serve_mail, tls):
    """A mail server with TLS that wants a password."""
    where = {"starttls": "tls_context", "tls": "ssl_context"}[request.param]
    required = request.param == "starttls"
    return serve_mail(request.param, PASSWORD, **{where: tls}, auth_require_tls=required)


def test_a_verified_server_gets_password_and_email(tls_mail, certificate, monkeypatch):
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    assert send(ALERT) == ["e-mail ops@example.com: delivered"]
    assert (tls_mail.logins, len(tls_mail.got)) == ([PASSWORD.encode()], 1)


def test_a_server_whose_certificate_nobody_trusts_gets_nothing(tls_mail):
    assert send(ALERT) == ["e-mail ops@example.com: not delivered: TLS: self-signed certificate"]
    assert (tls_mail.logins, tls_mail.got) == ([], [])


def test_a_password_never_goes_to_a_server_without_starttls(serve_mail):
    mail = serve_mail("", PASSWORD, auth_require_tls=False)
    assert send(ALERT) == [
        "e-mail ops@example.com: not delivered: STARTTLS extension not supported by server."
    ]
    assert (mail.logins, mail.got) == ([], [])


@pytest.mark.parametrize(
    ("password", "refusal", "reason"),
    [
        ("wrong donkey", None, "SMTP 535: 5.7.8 Authentication credentials invalid"),
        ("grüner Esel", None, "a wrong or non-ASCII address, SMTP_USER or SMTP_PASSWORD"),
        # What repeats the password is not quoted.
        ("wrong donkey", "535 not Wrong Donkey", "SMTP 535"),
    ],
)
def test_a_wrong_password_is_said_and_not_shown(
    serve_mail, caplog,
    password, refusal, reason,
):  # fmt: skip
    mail = serve_mail("none", password, auth_require_tls=False)
    mail.refusal = refusal
    assert send(ALERT) == [f"e-mail ops@example.com: not delivered: {reason}"]
    assert not [words for _, words in levels(caplog) if password in words]
    assert mail.got == []


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
def test_a_mail_server_that_is_down_or_a_wrong_setting_is_said(
    setting, reason, monkeypatch, closed_port
):
    send_to(closed_port, monkeypatch)
    for name, value in setting.items():
        monkeypatch.setenv(name, value)
    assert send(ALERT) == [f"e-mail ops@example.com: not delivered: {reason}"]
