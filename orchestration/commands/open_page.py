"""`inv open`: open a web page in the browser."""

import webbrowser

import requests

from orchestration.clients import http
from orchestration.errors import StackError, UsageError
from orchestration.health import report as health_report
from orchestration.project import Project
from orchestration.settings.validation import PORTS


def run(project: Project, service: str) -> None:
    """Open a service's page in the browser of this machine.

    Raises StackError if the service has no page, nothing answers, or there is no browser.
    """
    settings = project.settings()
    if service not in PORTS:
        raise UsageError(f"{service} has no web page.", fix=f"Use one of: {', '.join(PORTS)}")
    address = settings.public_url(PORTS[service])
    try:
        with http.session(settings) as session:
            session.get(settings.url(PORTS[service]), timeout=health_report.TIMEOUT_SECONDS)
    except requests.RequestException:
        raise StackError(f"Nothing answers at {address}.", fix="inv up") from None
    print(address)
    if not webbrowser.open(address):
        port = settings[PORTS[service]]
        raise StackError(
            "No browser could be opened on this machine.",
            fix=f"On yours, run: ssh -L {port}:127.0.0.1:{port} THIS-HOST, then open {address}",
        )
