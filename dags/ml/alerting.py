"""Tell people: every alert is logged, and goes to a webhook and by e-mail where these are set.

Settings: ALERT_… and SMTP_… of .env.example. Of a webhook's address only the host is ever told.
"""

import html
import logging
import os
import re
import smtplib
import socket
import ssl
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from email.message import EmailMessage
from email.utils import formatdate
from functools import partial
from threading import Thread, current_thread
from typing import Any
from urllib.parse import unquote

DELIVERY_SECONDS = 10.0
"""What all receivers together cost a caller at most."""
CONNECT_SECONDS, READ_SECONDS, RETRY_AFTER_SECONDS = 3.0, 7.0, 1.0
POSTING: dict[str, Any] = {
    "timeout": (CONNECT_SECONDS, READ_SECONDS), "allow_redirects": False, "stream": True,
}  # fmt: skip
MAY_PASS = re.compile("not delivered: (connection |HTTP 429|HTTP 5|SMTP 4)")
USUAL_PORTS = {"starttls": "587", "tls": "465", "none": "25"}
HOST = r"(?:[\w.-]+|\[[\da-fA-F:.]+\])(?::\d{1,5})?"
ADDRESS = re.compile(rf"https?://(?:[^/?#\\]*@)?({HOST})(?:[/?#].*)?")
THREAD = "alert-delivery"
log = logging.getLogger(__name__)
# Beneath requests, whole addresses are logged at DEBUG.
logging.getLogger("urllib3.connectionpool").addFilter(lambda _: current_thread().name != THREAD)


@dataclass(frozen=True)
class Alert:
    """A title of one line, facts of one line each, and links as words -> URL."""

    title: str
    lines: Sequence[str] = ()
    links: Mapping[str, str] = field(default_factory=dict)


class _NotDelivered(Exception):
    """Why not, in words that hold no secret."""


def send(alert: Alert) -> list[str]:
    """Log an alert and send it to every receiver; return a line for each: delivered, or why not.

    Takes DELIVERY_SECONDS at most. Never raises: a receiver that is down is said, no more.
    """
    try:
        links = {_one_line(words): _one_line(url) for words, url in alert.links.items()}
        alert = Alert(_one_line(alert.title), [*map(_one_line, alert.lines)], links)
        log.warning("%s", "\n".join([alert.title, *alert.lines, *_links(alert)]))
        outcomes = _outcomes(alert)
        for line in outcomes:
            log.log(logging.INFO if line.endswith(": delivered") else logging.WARNING, "%s", line)
    except Exception as error:
        outcomes = [f"alert not sent: {type(error).__name__}"]
        log.warning("%s", outcomes[0])
    return outcomes


def configured() -> list[str]:
    """Names of the receivers, for people; empty where alerts are logged only."""
    return list(_receivers())


def _receivers() -> dict[str, Callable[[Alert], str]]:
    """What delivers to each receiver, by its name for people; it returns how that ended."""
    found: dict[str, Callable[[Alert], str]] = {}
    if url := _setting("ALERT_WEBHOOK_URL"):
        found[f"webhook {_host(url)}".rstrip()] = partial(_post, url)
    if to := ", ".join(filter(None, map(_one_line, _setting("ALERT_EMAIL_TO").split(",")))):
        found[f"e-mail {to}"] = partial(_mail, to)
    return found


def _outcomes(alert: Alert) -> list[str]:
    """Send to all at once, twice if need be: better two alerts than none. Who is late is left."""
    receivers, until = _receivers(), time.monotonic() + DELIVERY_SECONDS
    outcomes = dict.fromkeys(receivers, f"not delivered: no answer within {DELIVERY_SECONDS:g} s")

    def attempt(name: str, again: bool = True) -> None:
        try:
            outcomes[name] = receivers[name](alert)
        except Exception as error:
            outcomes[name] = f"not delivered: {_reason(error)}"
        # Later it would be sent after its failure was told, by settings of another time.
        if again and time.monotonic() < until and MAY_PASS.match(outcomes[name]):
            time.sleep(RETRY_AFTER_SECONDS)
            attempt(name, again=False)

    threads = [Thread(None, attempt, THREAD, [name], daemon=True) for name in receivers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(max(0.0, until - time.monotonic()))
    return [f"{name}: {outcome}" for name, outcome in outcomes.items()]


def _post(url: str, alert: Alert) -> str:
    if not _host(url):
        raise _NotDelivered("ALERT_WEBHOOK_URL is not an http or https address")
    import requests

    escaped = partial(html.escape, quote=False)
    links = [f"<{escaped(to).replace('|', '%7C')}|{escaped(x)}>" for x, to in alert.links.items()]
    text = "\n".join([f"*{escaped(alert.title)}*", *map(escaped, alert.lines), *links])
    with requests.post(url, json={"text": text}, **POSTING) as answer:
        if 200 <= answer.status_code < 300:
            return "delivered"
        words = _quoted(answer.raw.read(4096, decode_content=True))
    raise _NotDelivered(f"HTTP {answer.status_code}{words}")


def _mail(to: str, alert: Alert) -> str:
    message = EmailMessage()
    message["Subject"], message["To"], message["Date"] = alert.title, to, formatdate()
    message["From"] = _one_line(_setting("ALERT_EMAIL_FROM", f"airflow@{socket.gethostname()}"))
    message.set_content("\n".join([*alert.lines, "", *_links(alert)]), cte="quoted-printable")
    security = _setting("SMTP_SECURITY", "starttls").lower()
    with _connected(security) as server:
        if security == "starttls":
            server.starttls(context=ssl.create_default_context())
        if user := _setting("SMTP_USER"):
            server.login(user, os.environ.get("SMTP_PASSWORD", ""))
        refused = server.send_message(message)
    return f"delivered, but not to {', '.join(refused)}" if refused else "delivered"


def _connected(security: str) -> smtplib.SMTP:
    """A connection to the mail server; encrypted from its start for tls alone."""
    host, port = _setting("SMTP_HOST"), _setting("SMTP_PORT", USUAL_PORTS.get(security, ""))
    if not host:
        raise _NotDelivered("SMTP_HOST is not set")
    if security not in USUAL_PORTS:
        raise _NotDelivered("SMTP_SECURITY is none of starttls, tls and none")
    if not re.fullmatch(r"\d{1,5}", port) or not 0 < int(port) < 65536:
        raise _NotDelivered("SMTP_PORT is not a number from 1 to 65535")
    if security == "tls":
        verified = ssl.create_default_context()
        return smtplib.SMTP_SSL(host, int(port), timeout=READ_SECONDS, context=verified)
    return smtplib.SMTP(host, int(port), timeout=READ_SECONDS)


def _reason(error: BaseException) -> str:
    """Why a delivery failed, by its root cause; requests' own texts hold the address."""
    while deeper := error.__cause__ or error.__context__:
        error = deeper
    return next(words(error) for kind, words in REASONS.items() if isinstance(error, kind))


REASONS: Mapping[type[BaseException], Callable[..., str]] = {
    _NotDelivered: str,
    smtplib.SMTPResponseException: lambda e: f"SMTP {e.smtp_code}{_quoted(e.smtp_error)}",
    smtplib.SMTPRecipientsRefused: lambda e: f"refused: {', '.join(e.recipients)}",
    smtplib.SMTPServerDisconnected: lambda e: "connection closed",
    smtplib.SMTPException: str,
    socket.gaierror: lambda e: "name not known",
    ssl.SSLError: lambda e: f"TLS: {getattr(e, 'verify_message', e.reason)}",
    TimeoutError: lambda e: "no answer in time",
    ConnectionRefusedError: lambda e: "connection refused",
    ConnectionError: lambda e: "connection closed",
    ValueError: lambda e: "a wrong or non-ASCII address, SMTP_USER or SMTP_PASSWORD",
    BaseException: lambda e: getattr(e, "strerror", None) or type(e).__name__,
}


def _links(alert: Alert) -> list[str]:
    return [f"{words}: {url}" for words, url in alert.links.items()]


def _setting(name: str, default: str = "") -> str:
    return os.environ.get(name, "").strip() or default


def _one_line(text: str) -> str:
    return " ".join("".join(c if c.isprintable() else " " for c in str(text)).split())


def _host(url: str) -> str:
    """host[:port] of a web address, all of it that may be told; empty where it is none."""
    found = ADDRESS.fullmatch(url)
    return found[1] if found else ""


def _quoted(answer: bytes) -> str:
    """First words of an answer after a colon; none where it repeats what must not be told."""
    url, password = _setting("ALERT_WEBHOOK_URL"), os.environ.get("SMTP_PASSWORD", "")
    path = unquote(url).partition(_host(url) or "://")[2]
    text = _one_line(answer.decode(errors="replace"))
    heard = unquote(html.unescape(text)).lower()
    hidden = [path, password, *re.split("[/?&=#]", path)]
    told = any(x.lower() in heard for x in hidden if len(x) > 3)
    return f": {text[:100]}" if text and not told else ""
