"""Log alerts, and send them to a webhook and by e-mail if these are set.

The settings ALERT_… and SMTP_… are in .env.example. A webhook's path is a secret: messages name
only its host.
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

# All receivers together delay a caller by this at most.
DELIVERY_SECONDS = 10.0
READ_SECONDS, RETRY_AFTER_SECONDS = 7.0, 1.0
POSTING: dict[str, Any] = {"timeout": (3.0, READ_SECONDS), "allow_redirects": False, "stream": True}
TRANSIENT = re.compile("not delivered: (connection |HTTP 429|HTTP 5|SMTP 4)")
USUAL_PORTS = {"starttls": "587", "tls": "465", "none": "25"}
HOST = r"(?:[\w.-]+|\[[\da-fA-F:.]+\])(?::\d{1,5})?"
ADDRESS = re.compile(rf"https?://(?:[^/?#\\]*@)?({HOST})(?:[/?#].*)?")
THREAD = "alert-delivery"
log = logging.getLogger(__name__)
# At DEBUG, urllib3 logs whole addresses.
logging.getLogger("urllib3.connectionpool").addFilter(lambda _: current_thread().name != THREAD)


@dataclass(frozen=True)
class Alert:
    """A title of one line, facts of one line each, and links as text -> URL."""

    title: str
    lines: Sequence[str] = ()
    links: Mapping[str, str] = field(default_factory=dict)


class _NotDelivered(Exception):
    """Why an alert was not delivered, without secrets."""


def send(alert: Alert) -> list[str]:
    """Log an alert and send it to every receiver; return a line for each: delivered, or why not.

    Takes DELIVERY_SECONDS at most. Never raises: a failed delivery is only logged.
    """
    try:
        links = {_one_line(text): _one_line(url) for text, url in alert.links.items()}
        alert = Alert(_one_line(alert.title), [*map(_one_line, alert.lines)], links)
        log.warning("%s", "\n".join([alert.title, *alert.lines, *_links(alert)]))
        outcomes = _outcomes(alert)
        for line in outcomes:
            log.log(logging.INFO if line.endswith(": delivered") else logging.WARNING, "%s", line)
    except Exception as error:
        outcomes = [f"alert not sent: {type(error).__name__}"]
        log.warning("%s", outcomes[0])
    return outcomes


def deliver(alert: Mapping[str, Any]) -> list[str]:
    """Send an alert that has a title, lines and links, and return a line for each receiver."""
    return send(Alert(**alert)) if alert else []


def send_failure(ti: Any, reason: str) -> str:
    """Send an alert that names the failed tasks of a run, and return its title.

    `ti` is a task instance downstream of all tasks. Its lines are what they pushed to XCom as
    `reason`.
    """
    states = ti.get_task_states(dag_id=ti.dag_id, run_ids=[ti.run_id])[ti.run_id]
    failed = [name for name, state in states.items() if state == "failed"]
    lines = filter(None, [_pushed(ti, name, reason) for name in failed])
    page = f"{os.environ.get('AIRFLOW_PUBLIC_URL', '')}/dags/{ti.dag_id}/runs/{ti.run_id}"
    title = f"{ti.dag_id}: {', '.join(failed)} failed"
    send(Alert(title, list(lines), {"Airflow": page}))
    return title


def _pushed(ti: Any, name: str, key: str) -> Any:
    """Return what a task pushed; `name` is `training_0` for a mapped task."""
    if name in ti.task.upstream_task_ids:
        return ti.xcom_pull(task_ids=name, key=key)
    task_id, _, index = name.rpartition("_")
    return ti.xcom_pull(task_ids=task_id, key=key, map_indexes=int(index))


def configured() -> list[str]:
    """Return the names of the receivers, or an empty list if alerts are only logged."""
    return list(_receivers())


def _receivers() -> dict[str, Callable[[Alert], str]]:
    """Return the function that delivers to each receiver, by the receiver's name."""
    receivers: dict[str, Callable[[Alert], str]] = {}
    if url := _setting("ALERT_WEBHOOK_URL"):
        receivers[f"webhook {_host(url)}".rstrip()] = partial(_post, url)
    if to := ", ".join(filter(None, map(_one_line, _setting("ALERT_EMAIL_TO").split(",")))):
        receivers[f"e-mail {to}"] = partial(_mail, to)
    return receivers


def _outcomes(alert: Alert) -> list[str]:
    """Send to all receivers at the same time, and a second time after a transient failure."""
    receivers, until = _receivers(), time.monotonic() + DELIVERY_SECONDS
    outcomes = dict.fromkeys(receivers, f"not delivered: no answer within {DELIVERY_SECONDS:g} s")

    def attempt(name: str, again: bool = True) -> None:
        try:
            outcomes[name] = receivers[name](alert)
        except Exception as error:
            outcomes[name] = f"not delivered: {_reason(error)}"
        # Later, it would be sent after its failure was reported.
        if again and time.monotonic() < until and TRANSIENT.match(outcomes[name]):
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

    escape = partial(html.escape, quote=False)
    links = [f"<{escape(to).replace('|', '%7C')}|{escape(x)}>" for x, to in alert.links.items()]
    text = "\n".join([f"*{escape(alert.title)}*", *map(escape, alert.lines), *links])
    with requests.post(url, json={"text": text}, **POSTING) as answer:
        if 200 <= answer.status_code < 300:
            return "delivered"
        quoted = _quoted(answer.raw.read(4096, decode_content=True))
    raise _NotDelivered(f"HTTP {answer.status_code}{quoted}")


def _mail(to: str, alert: Alert) -> str:
    message = EmailMessage()
    message["Subject"], message["To"], message["Date"] = alert.title, to, formatdate()
    message["From"] = _one_line(_setting("ALERT_EMAIL_FROM", f"airflow@{socket.gethostname()}"))
    message.set_content("\n".join([*alert.lines, "", *_links(alert)]), cte="quoted-printable")
    security = _setting("SMTP_SECURITY", "starttls").lower()
    with _connect(security) as server:
        if security == "starttls":
            server.starttls(context=ssl.create_default_context())
        if user := _setting("SMTP_USER"):
            server.login(user, os.environ.get("SMTP_PASSWORD", ""))
        refused = server.send_message(message)
    return f"delivered, but not to {', '.join(refused)}" if refused else "delivered"


def _connect(security: str) -> smtplib.SMTP:
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
    """Return why a delivery failed, by its root cause: texts of requests contain the address."""
    while cause := error.__cause__ or error.__context__:
        error = cause
    return next(text(error) for kind, text in REASONS.items() if isinstance(error, kind))


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
    return [f"{text}: {url}" for text, url in alert.links.items()]


def _setting(name: str, default: str = "") -> str:
    return os.environ.get(name, "").strip() or default


def _one_line(text: str) -> str:
    return " ".join("".join(c if c.isprintable() else " " for c in str(text)).split())


def _host(url: str) -> str:
    """Return host[:port] of a web address, which is no secret, or a blank if it is not one."""
    match = ADDRESS.fullmatch(url)
    return match[1] if match else ""


def _quoted(answer: bytes) -> str:
    """Return the start of an answer after a colon, or a blank if it repeats a secret."""
    url, password = _setting("ALERT_WEBHOOK_URL"), os.environ.get("SMTP_PASSWORD", "")
    path = unquote(url).partition(_host(url) or "://")[2]
    text = _one_line(answer.decode(errors="replace"))
    decoded = unquote(html.unescape(text)).lower()
    secrets = [path, password, *re.split("[/?&=#]", path)]
    repeats = any(secret.lower() in decoded for secret in secrets if len(secret) > 3)
    return f": {text[:100]}" if text and not repeats else ""
