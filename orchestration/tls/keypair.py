"""A certificate with its key: read from files, and judged."""

import ipaddress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from orchestration.errors import Problem

if TYPE_CHECKING:
    from cryptography.x509 import Certificate

# cryptography is imported where it is used: most verbs never look at a certificate.


@dataclass(frozen=True)
class Pair:
    """Both as PEM."""

    certificate: bytes
    key: bytes

    @property
    def opened(self) -> "Certificate":
        """The certificate itself."""
        from cryptography import x509

        return x509.load_pem_x509_certificate(self.certificate)

    @property
    def fits(self) -> bool:
        """The key is the certificate's."""
        from cryptography.hazmat.primitives.serialization import load_pem_private_key

        public = load_pem_private_key(self.key, password=None).public_key()
        return bool(public == self.opened.public_key())

    @property
    def hosts(self) -> set[str]:
        """The names and addresses that the certificate is for, as browsers read it."""
        from cryptography import x509

        kind = x509.SubjectAlternativeName
        try:
            found = self.opened.extensions.get_extension_for_class(kind).value
        except x509.ExtensionNotFound:
            return set()
        names = found.get_values_for_type(x509.DNSName)
        return {*map(str.lower, names), *map(str, found.get_values_for_type(x509.IPAddress))}

    def names(self, host: str) -> bool:
        """Whether the certificate is for a name or address."""
        held, name = self.hosts, host.lower()
        try:
            return str(ipaddress.ip_address(name)) in held
        except ValueError:
            # A star stands for one label.
            return name in held or f"*.{name.partition('.')[2]}" in held

    def lasts(self, span: timedelta) -> bool:
        """Whether the certificate goes on for longer than that."""
        return self.opened.not_valid_after_utc > datetime.now(UTC) + span


def read(certificate: Path, key: Path) -> Pair | Problem:
    """Return a pair from its files, or why it cannot be read."""
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
    """Return the problem of a certificate or key that cannot be used."""
    return Problem("certificate-unusable", cause, fix, "certificates")
