"""The certificate that the TLS proxy shows: the person's own, or one of an internal CA.

Either lies ready in `certificates/served`, which the proxy alone mounts.
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
from orchestration.tls import keypair
from orchestration.tls.keypair import Pair

ENDS_SOON = timedelta(days=30)


@dataclass(frozen=True)
class Files:
    """Where certificates of a clone lie."""

    folder: Path

    @classmethod
    def of(cls, settings: Settings) -> "Files":
        """Those of the clone with these settings."""
        return cls(settings.root / "certificates")

    @property
    def ca(self) -> Path:
        """The internal CA's certificate, for people's browsers and clients to trust."""
        return self.folder / "ca.pem"

    @property
    def ca_key(self) -> Path:
        """Its key, which no service sees."""
        return self.folder / "ca.key"

    @property
    def certificate(self) -> Path:
        """What the proxy shows, its chain included."""
        return self.folder / "served" / "certificate.pem"

    @property
    def key(self) -> Path:
        """The proxy's key."""
        return self.folder / "served" / "key.pem"


def given(settings: Settings) -> tuple[Path, Path] | None:
    """The person's own certificate and key, relative ones from the clone; None for the CA's."""
    if not settings["TLS_CERTIFICATE"]:
        return None
    return settings.root / settings["TLS_CERTIFICATE"], settings.root / settings["TLS_KEY"]


def trusted(settings: Settings) -> Path:
    """What verifies the proxy from this machine: the CA, or the person's certificate itself."""
    files = Files.of(settings)
    return files.certificate if given(settings) else files.ca


def problems(settings: Settings) -> list[Problem]:
    """Return why your own certificate cannot be used; empty without TLS or with the CA's."""
    own = given(settings) if settings.tls else None
    if not own:
        return []
    pair = keypair.read(*own)
    return [pair] if isinstance(pair, Problem) else [*_own_problems(settings, pair, *own)]


def _own_problems(
    settings: Settings, pair: Pair, certificate: Path, key: Path
) -> Iterator[Problem]:
    own = f"TLS_CERTIFICATE={certificate}"
    if not pair.fits:
        cause = f"TLS_KEY={key} does not belong to {own}."
        yield keypair.unusable(cause, "Set both to files of one pair in .env.")
    now, opened = datetime.now(UTC), pair.opened
    if now > opened.not_valid_after_utc:
        cause = f"{own} expired on {opened.not_valid_after_utc:%Y-%m-%d}."
        yield keypair.unusable(cause, "Renew it.")
    if now < opened.not_valid_before_utc:
        cause = f"{own} is not valid before {opened.not_valid_before_utc:%Y-%m-%d}."
        yield keypair.unusable(cause, "Check this machine's clock.")
    if not pair.names(settings.public_host):
        hosts = ", ".join(sorted(pair.hosts)) or "no host"
        cause = f"{own} is for {hosts}, not for {settings.public_host}."
        yield keypair.unusable(cause, "Set PUBLIC_HOST in .env to a name in the certificate.")


def ends(settings: Settings) -> datetime | None:
    """When the certificate that is served ends; None where none is there yet."""
    from cryptography import x509

    try:
        pem = Files.of(settings).certificate.read_bytes()
        return x509.load_pem_x509_certificate(pem).not_valid_after_utc
    except (OSError, ValueError):
        return None


def provide(settings: Settings) -> str:
    """Have certificate and key ready for the proxy; what was done in a line, or blank.

    Raises StackError for an own certificate that cannot be used, or a key that the proxy could
    not read.
    """
    if not settings.tls:
        return ""
    if wrong := problems(settings):
        raise StackError(*wrong)
    if own := given(settings):
        pair = keypair.read(*own)
        if isinstance(pair, Problem):
            raise StackError(pair)
        return "your certificate is taken over" if _serve(settings, pair) else ""
    authority, made = _authority(settings)
    hosts = wanted_hosts(settings)
    held = keypair.read(Files.of(settings).certificate, Files.of(settings).key)
    if isinstance(held, Pair) and _good(held, authority, hosts):
        return ""
    from orchestration.tls import ca as making

    _serve(settings, making.issue(authority, hosts))
    return f"{made}a certificate for {', '.join(hosts)} was made"


def wanted_hosts(settings: Settings) -> list[str]:
    """The names and addresses that the CA's certificate is for, the one that people type first."""
    machine = socket.gethostname()
    also = [machine, machine.partition(".")[0], "localhost", "127.0.0.1"]
    address = settings["BIND_ADDRESS"]
    also += [] if address in ("0.0.0.0", "::", "localhost") else [address]
    return [*dict.fromkeys(name.lower() for name in (settings.public_host, *also))]


def _authority(settings: Settings) -> tuple[Pair, str]:
    """The internal CA, made where there is none that can go on; and that in words."""
    from orchestration.tls import ca as making

    files = Files.of(settings)
    held = keypair.read(files.ca, files.ca_key)
    if isinstance(held, Pair) and held.fits and held.lasts(ENDS_SOON):
        return held, ""
    pair = making.authority(settings.project)
    files.folder.mkdir(parents=True, exist_ok=True)
    atomic_write(files.ca_key, pair.key, 0o600)
    atomic_write(files.ca, pair.certificate, 0o644)
    return pair, f"an internal CA was made ({files.ca}: let browsers and clients trust it); "


def _serve(settings: Settings, pair: Pair) -> bool:
    """Lay a pair where the proxy reads it; whether that is another than before."""
    files, uid = Files.of(settings), int(settings["AIRFLOW_UID"])
    # A key that was made readable for others is written again too.
    same = keypair.read(files.certificate, files.key) == pair
    if same and not files.key.stat().st_mode & 0o077:
        return False
    if os.getuid() not in (0, uid):
        raise StackError(
            f"The proxy runs as AIRFLOW_UID={uid} and cannot read a key that belongs to you.",
            fix="Leave AIRFLOW_UID blank in .env, then run: inv install",
        )
    files.key.parent.mkdir(parents=True, exist_ok=True)
    atomic_write(files.key, pair.key, 0o600, uid)
    atomic_write(files.certificate, pair.certificate, 0o644, uid)
    return True


def _good(pair: Pair, authority: Pair, hosts: list[str]) -> bool:
    """It is the CA's, for these hosts, and goes on for a while."""
    try:
        pair.opened.verify_directly_issued_by(authority.opened)
    except Exception:
        # Of any kind: what cannot be verified is made anew.
        return False
    return pair.fits and pair.lasts(ENDS_SOON) and pair.hosts == set(hosts)
