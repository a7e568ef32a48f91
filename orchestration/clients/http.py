"""HTTP sessions from this machine to the published pages, with TLS verification."""

import ssl
from typing import Any
from urllib.parse import urlsplit

import requests
from requests.adapters import HTTPAdapter

from orchestration.settings.model import Settings
from orchestration.tls import certificates

STATUS_USER = "status"


class PublicNameAdapter(HTTPAdapter):
    """Connect to an address, but use and verify the host name of the certificate."""

    def __init__(self, host: str, context: ssl.SSLContext) -> None:
        self.host, self.context = host, context
        super().__init__()

    def init_poolmanager(self, *arguments: Any, **options: Any) -> None:
        """Create the connection pool with this TLS context and host name."""
        options |= {"server_hostname": self.host, "assert_hostname": self.host}
        super().init_poolmanager(*arguments, ssl_context=self.context, **options)

    def send(self, request: requests.PreparedRequest, *rest: Any, **options: Any) -> Any:
        """Send a request with the public host name in its Host header."""
        request.headers["Host"] = f"{self.host}:{urlsplit(str(request.url)).port}"
        return super().send(request, *rest, **options)


def session(settings: Settings) -> requests.Session:
    """Return a session for `settings.url(...)` that uses no proxy and trusts our certificate."""
    new = requests.Session()
    new.trust_env = False
    anchor = certificates.trust_anchor(settings)
    if settings.tls and anchor.exists():
        context = ssl.create_default_context(cafile=str(anchor))
        # Trust a certificate of the user's own directly, without the CA that signed it.
        context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
        new.verify = str(anchor)
        new.mount("https://", PublicNameAdapter(settings.public_host, context))
    return new


def credentials(settings: Settings, port: str) -> tuple[str, str] | None:
    """Return the user and password that the proxy requires for a page, or None."""
    if settings.tls and port == "STATUS_PORT":
        return STATUS_USER, settings["STATUS_PAGE_PASSWORD"]
    return None
