"""Airflow's own e-mails, with the mail server of .env: the connection `smtp_default`."""

import json
import os
import socket
from collections.abc import Iterable
from typing import Any

CONNECTION = "AIRFLOW_CONN_SMTP_DEFAULT"
USUAL_PORTS = {"starttls": 587, "tls": 465, "none": 25}
# Airflow tries to send twice, and kills the process of a task 20 s after the task has failed.
TIMEOUT_SECONDS = 8


def provide_connection() -> None:
    """Describe the mail server of .env in the variable from which Airflow reads the connection.

    A variable that exists already is kept. The form is that of SmtpHook, also for EmailOperator and
    SmtpNotifier.
    """
    host = os.environ.get("SMTP_HOST", "")
    if not host:
        return
    security = os.environ.get("SMTP_SECURITY") or "starttls"
    sender = os.environ.get("ALERT_EMAIL_FROM") or f"airflow@{socket.gethostname()}"
    connection = {
        "conn_type": "smtp",
        "host": host,
        "port": os.environ.get("SMTP_PORT") or USUAL_PORTS.get(security),
        "login": os.environ.get("SMTP_USER", ""),
        "password": os.environ.get("SMTP_PASSWORD", ""),
        "extra": {
            "from_email": sender,
            "disable_ssl": security != "tls",
            "disable_tls": security != "starttls",
            "timeout": TIMEOUT_SECONDS,
        },
    }
    os.environ.setdefault(CONNECTION, json.dumps(connection))


def send_email(
    to: str | Iterable[str],
    subject: str,
    html_content: str,
    conn_id: str = "smtp_default",
    **options: Any,
) -> None:
    """Send an e-mail through a connection: [email] email_backend.

    Airflow's own function needs the mail server a second time, in [smtp], and does not verify its
    certificate.
    """
    from airflow.providers.smtp.hooks.smtp import SmtpHook

    with SmtpHook(smtp_conn_id=conn_id) as server:
        server.send_email_smtp(to=to, subject=subject, html_content=html_content, **options)
