"""`inv open`: open a web page in the browser."""

import webbrowser

import requests

from orchestration.clients import http
from orchestration.errors import StackError
from orchestration.health import report as health_report
from orchestration.project import Project

PAGES = {
    "status": "STATUS_PORT",
    "airflow-apiserver": "AIRFLOW_PORT",
    "mlflow": "MLFLOW_PORT",
}


def run(project: Project, service: str) -> None:
    """Open a service's page in the person's browser.

    Raises StackError for a service without one, where nothing answers, or without a browser.
    """
    chosen = project.settings()
    if service not in PAGES:
        raise StackError(f"{service} has no page; pages: {', '.join(PAGES)}")
    address = chosen.public_url(PAGES[service])
    try:
        with http.session(chosen) as session:
            session.get(chosen.url(PAGES[service]), timeout=health_report.PATIENCE_SECONDS)
    except requests.RequestException:
        raise StackError(f"nothing answers at {address}: inv up") from None
    print(address)
    if not webbrowser.open(address):
        port = chosen[PAGES[service]]
        raise StackError(
            f"no browser could be opened here; from another machine: "
            f"ssh -L {port}:127.0.0.1:{port} THIS-HOST, then {address}"
        )
