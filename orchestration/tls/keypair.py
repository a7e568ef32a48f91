"""Read and check a certificate and its private key."""

import ipaddress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from orchestration.errors import Problem

if TYPE_CHECKING:
    from cryptography.x509 import Certificate

# cryptography is imported where it is used, because most commands need no certificate.


@dataclass(frozen=True)
class Pair:
    """A certificate and its private key, both in PEM format."""

    certificate: bytes
    key: bytes

    @property
    def x509(self) -> "Certificate":
        """The parsed certificate."""
        from cryptography import x509

        return x509.load_pem_x509_certificate(self.certificate)

    @property
    def key_matches(self) -> bool:
        """Whether the private key belongs to the certificate."""
        from cryptography.hazmat.primitives.serialization import load_pem_private_key

        public = load_pem_private_key(self.key, password=None).public_key()
        return bool(public == self.x509.public_key())

    @property
    def hosts(self) -> set[str]:
        """The host names and addresses in the certificate's subject alternative names."""
        from cryptography import x509

        kind = x509.SubjectAlternativeName
        try:
            alternatives = self.x509.extensions.get_extension_for_class(kind).value
        except x509.ExtensionNotFound:
            return set()
        names = alternatives.get_values_for_type(x509.DNSName)
        addresses = alternatives.get_values_for_type(x509.IPAddress)
        return {*map(str.lower, names), *map(str, addresses)}

    def covers(self, host: str) -> bool:
        """Return whether the certificate is for a host name or address."""
        hosts, name = self.hosts, host.lower()
        try:
            return str(ipaddress.ip_address(name)) in hosts
        except ValueError:
            # A wildcard matches exactly one label.
            return name in hosts or f"*.{name.partition('.')[2]}" in hosts

    def is_valid_for(self, span: timedelta) -> bool:
        """Return whether the certificate expires later than after `span`."""
        return self.x509.not_valid_after_utc > datetime.now(UTC) + span


def read(certificate: Path, key: Path) -> Pair | Problem:
    """Return the pair in two PEM files, or the problem that prevents reading it."""
    from cryptography import x509
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    try:
        pair = Pair(certificate.read_bytes(), key.read_bytes())
    except OSError as error:
        cause = f"{error.filename} cannot be read ({error.strerror})."
        return unusable(cause, "Correct TLS_CERTIFICATE and TLS_KEY in .env.")
    try:
        x509.load_pem_x509_certificate(pair.certificate)
    except ValueError:
        cause = f"{certificate} is not a certificate in PEM format."
        return unusable(cause, "Correct TLS_CERTIFICATE in .env.")
    try:
        load_pem_private_key(pair.key, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        cause = f"{key} is not a private key in PEM format without a passphrase."
        return unusable(cause, "Correct TLS_KEY in .env.")
    return pair


def unusable(cause: str, fix: str) -> Problem:
    """Return a problem of the certificate or its key."""
    return Problem("certificate-unusable", cause, fix, "certificates")
