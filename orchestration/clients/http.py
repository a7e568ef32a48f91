"""Requests from this machine to the pages that this stack publishes, TLS verified."""

import ssl
from typing import Any
from urllib.parse import urlsplit

import requests
from requests.adapters import HTTPAdapter

from orchestration.settings.model import Settings
from orchestration.tls import certificates

STATUS_USER = "status"


class ByName(HTTPAdapter):
    """Connects to an address and asks there for the host that the certificate is for."""

    def __init__(self, host: str, context: ssl.SSLContext) -> None:
        self.host, self.context = host, context
        super().__init__()

    def init_poolmanager(self, *arguments: Any, **options: Any) -> None:
        """With our context and name; the rest is the library's."""
        options |= {"server_hostname": self.host, "assert_hostname": self.host}
        super().init_poolmanager(*arguments, ssl_context=self.context, **options)

    def send(self, request: requests.PreparedRequest, *rest: Any, **options: Any) -> Any:
        """Send it under the name that people type."""
        request.headers["Host"] = f"{self.host}:{urlsplit(str(request.url)).port}"
        return super().send(request, *rest, **options)


def session(settings: Settings) -> requests.Session:
    """A session for `settings.url(...)`; no proxy stands between this machine and itself."""
    made = requests.Session()
    made.trust_env = False
    known = certificates.trusted(settings)
    if settings.tls and known.exists():
        context = ssl.create_default_context(cafile=str(known))
        # A person's own certificate is its own anchor, whoever has signed it.
        context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
        made.verify = str(known)
        made.mount("https://", ByName(settings.public_host, context))
    return made


def account(settings: Settings, port: str) -> tuple[str, str] | None:
    """User and password that a page wants before it shows itself."""
    if settings.tls and port == "STATUS_PORT":
        return STATUS_USER, settings["STATUS_PAGE_PASSWORD"]
    return None
