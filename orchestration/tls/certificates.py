"""Provide the TLS proxy's certificate: the user's own or one of the internal CA.

Either is copied to `certificates/served`, which only the proxy mounts.
"""

import os
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from orchestration.errors import Problem, StackError
from orchestration.files import atomic_write
from orchestration.settings.model import Settings
from orchestration.settings.validation import EVERYWHERE
from orchestration.tls import keypair
from orchestration.tls.keypair import Pair

ENDS_SOON = timedelta(days=30)


@dataclass(frozen=True)
class Files:
    """The certificate files of a clone."""

    folder: Path

    @classmethod
    def for_clone(cls, settings: Settings) -> "Files":
        """Return the files of the clone with these settings."""
        return cls(settings.root / "certificates")

    @property
    def ca(self) -> Path:
        """The internal CA's certificate, which browsers and clients import."""
        return self.folder / "ca.pem"

    @property
    def ca_key(self) -> Path:
        """The internal CA's key, which no service can read."""
        return self.folder / "ca.key"

    @property
    def certificate(self) -> Path:
        """The proxy's certificate with its chain."""
        return self.folder / "served" / "certificate.pem"

    @property
    def key(self) -> Path:
        """The proxy's key."""
        return self.folder / "served" / "key.pem"


def own_certificate(settings: Settings) -> tuple[Path, Path] | None:
    """Return the paths of the user's own certificate and key, None if the internal CA is used."""
    if not settings["TLS_CERTIFICATE"]:
        return None
    return settings.root / settings["TLS_CERTIFICATE"], settings.root / settings["TLS_KEY"]


def trust_anchor(settings: Settings) -> Path:
    """Return the certificate to verify the proxy with: the CA's or the user's own."""
    files = Files.for_clone(settings)
    return files.certificate if own_certificate(settings) else files.ca


def problems(settings: Settings) -> list[Problem]:
    """Return the problems of the user's own certificate, if TLS is on and there is one."""
    own = own_certificate(settings) if settings.tls else None
    if not own:
        return []
    pair = keypair.read(*own)
    return [pair] if isinstance(pair, Problem) else [*_own_problems(settings, pair, *own)]


def _own_problems(
    settings: Settings, pair: Pair, certificate: Path, key: Path
) -> Iterator[Problem]:
    own = f"TLS_CERTIFICATE={certificate}"
    if not pair.key_matches:
        cause = f"TLS_KEY={key} does not belong to {own}."
        yield keypair.unusable(cause, "Set both to files of one pair in .env.")
    now, parsed = datetime.now(UTC), pair.x509
    if now > parsed.not_valid_after_utc:
        cause = f"{own} expired on {parsed.not_valid_after_utc:%Y-%m-%d}."
        yield keypair.unusable(cause, "Renew it.")
    if now < parsed.not_valid_before_utc:
        cause = f"{own} is not valid before {parsed.not_valid_before_utc:%Y-%m-%d}."
        yield keypair.unusable(cause, "Check this machine's clock.")
    if not pair.covers(settings.public_host):
        hosts = ", ".join(sorted(pair.hosts)) or "no host"
        cause = f"{own} is for {hosts}, not for {settings.public_host}."
        yield keypair.unusable(cause, "Set PUBLIC_HOST in .env to a name in the certificate.")


def expiry(settings: Settings) -> datetime | None:
    """Return when the proxy's certificate expires, or None if there is none yet."""
    from cryptography import x509

    try:
        pem = Files.for_clone(settings).certificate.read_bytes()
        return x509.load_pem_x509_certificate(pem).not_valid_after_utc
    except (OSError, ValueError):
        return None


def provide(settings: Settings) -> str:
    """Provide the proxy's certificate and key if TLS is on, and return a summary of the changes.

    Raises StackError if the user's certificate cannot be used or the proxy could not read the key.
    """
    if not settings.tls:
        return ""
    if own_problems := problems(settings):
        raise StackError(*own_problems)
    if own := own_certificate(settings):
        pair = keypair.read(*own)
        if isinstance(pair, Problem):
            raise StackError(pair)
        return "Installed your certificate." if _serve(settings, pair) else ""
    issuer, summary = _internal_ca(settings)
    hosts, files = certificate_hosts(settings), Files.for_clone(settings)
    current = keypair.read(files.certificate, files.key)
    if isinstance(current, Pair) and _is_usable(current, issuer, hosts):
        return ""
    from orchestration.tls import ca

    _serve(settings, ca.issue(issuer, hosts))
    return f"{summary}Created a certificate for {', '.join(hosts)}."


def certificate_hosts(settings: Settings) -> list[str]:
    """Return the hosts of a certificate of the internal CA, the public host name first."""
    machine = socket.gethostname()
    hosts = [settings.public_host, machine, machine.partition(".")[0], "localhost", "127.0.0.1"]
    address = settings["BIND_ADDRESS"]
    hosts += [] if address in (*EVERYWHERE, "localhost") else [address]
    return [*dict.fromkeys(map(str.lower, hosts))]


def _internal_ca(settings: Settings) -> tuple[Pair, str]:
    """Return the internal CA, and a summary if it had to be created."""
    from orchestration.tls import ca

    files = Files.for_clone(settings)
    current = keypair.read(files.ca, files.ca_key)
    if isinstance(current, Pair) and current.key_matches and current.is_valid_for(ENDS_SOON):
        return current, ""
    pair = ca.create_ca(settings.project)
    files.folder.mkdir(parents=True, exist_ok=True)
    atomic_write(files.ca_key, pair.key, 0o600)
    atomic_write(files.ca, pair.certificate, 0o644)
    return pair, f"Created an internal CA. Import {files.ca} in browsers and clients.\n"


def _serve(settings: Settings, pair: Pair) -> bool:
    """Write a pair to the proxy's files and return whether anything has changed."""
    files, uid = Files.for_clone(settings), int(settings["AIRFLOW_UID"])
    # A key whose mode lets others read it is written again too.
    is_same = keypair.read(files.certificate, files.key) == pair
    if is_same and not files.key.stat().st_mode & 0o077:
        return False
    if os.getuid() not in (0, uid):
        raise StackError(
            f"The proxy runs as AIRFLOW_UID={uid} and cannot read a key that belongs to you.",
            fix="Leave AIRFLOW_UID blank in .env, then run: inv install",
        )
    files.key.parent.mkdir(parents=True, exist_ok=True)
    # The proxy must be able to enter it, whatever the umask.
    files.key.parent.chmod(0o755)
    atomic_write(files.key, pair.key, 0o600, uid)
    atomic_write(files.certificate, pair.certificate, 0o644, uid)
    return True


def _is_usable(pair: Pair, issuer: Pair, hosts: list[str]) -> bool:
    """Return whether the CA issued the pair for exactly these hosts and it does not expire soon."""
    try:
        pair.x509.verify_directly_issued_by(issuer.x509)
    except Exception:
        # Whatever the error, a certificate that cannot be verified is replaced.
        return False
    return pair.key_matches and pair.is_valid_for(ENDS_SOON) and pair.hosts == set(hosts)
