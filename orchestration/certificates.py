"""The certificate that the TLS proxy shows: the person's own, or one of an internal CA.

Either lies ready in `certificates/served`, which the proxy alone mounts.
"""

import ipaddress
import os
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from orchestration import StackError
from orchestration.settings import Settings

if TYPE_CHECKING:
    from cryptography.x509 import Certificate

    from orchestration.authority import Pair

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


def problems(settings: Settings) -> list[str]:
    """Why the person's own certificate cannot be used; empty without TLS or with the CA's."""
    own = given(settings) if settings.tls else None
    return [*_own_problems(settings, *own)] if own else []


def _own_problems(settings: Settings, certificate: Path, key: Path) -> Iterator[str]:
    pair = _read(certificate, key)
    if isinstance(pair, str):
        yield pair
        return
    told = f"TLS_CERTIFICATE={certificate}"
    if not _fits(pair):
        yield f"TLS_KEY={key} is not the key of {told}: set both of one pair in .env"
    now, opened = datetime.now(UTC), pair.opened
    if now > opened.not_valid_after_utc:
        yield f"{told} ended on {opened.not_valid_after_utc:%Y-%m-%d}: renew it"
    if now < opened.not_valid_before_utc:
        yield f"{told} begins on {opened.not_valid_before_utc:%Y-%m-%d} only: look at the clock"
    if not _names(opened, settings.public_host):
        known = ", ".join(sorted(_hosts(opened))) or "nobody"
        yield (
            f"{told} is for {known} and not for {settings.public_host}: set PUBLIC_HOST in .env "
            "to a name that it holds"
        )


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
        raise StackError("\n".join(wrong))
    if own := given(settings):
        pair = _read(*own)
        if isinstance(pair, str):
            raise StackError(pair)
        return "your certificate is taken over" if _serve(settings, pair) else ""
    authority, made = _authority(settings)
    hosts = wanted_hosts(settings)
    held = _read(Files.of(settings).certificate, Files.of(settings).key)
    if not isinstance(held, str) and _good(held, authority, hosts):
        return ""
    from orchestration import authority as making

    _serve(settings, making.issue(authority, hosts))
    return f"{made}a certificate for {', '.join(hosts)} was made"


def wanted_hosts(settings: Settings) -> list[str]:
    """The names and addresses that the CA's certificate is for, the one that people type first."""
    machine = socket.gethostname()
    also = [machine, machine.partition(".")[0], "localhost", "127.0.0.1"]
    address = settings["BIND_ADDRESS"]
    also += [] if address in ("0.0.0.0", "::", "localhost") else [address]
    return [*dict.fromkeys(name.lower() for name in (settings.public_host, *also))]


def _authority(settings: Settings) -> tuple["Pair", str]:
    """The internal CA, made where there is none that can go on; and that in words."""
    from orchestration import authority as making

    files = Files.of(settings)
    held = _read(files.ca, files.ca_key)
    if not isinstance(held, str) and _fits(held) and _lasts(held):
        return held, ""
    pair = making.authority(settings.project)
    _write(files.ca_key, pair.key, 0o600)
    _write(files.ca, pair.certificate, 0o644)
    return pair, f"an internal CA was made ({files.ca}: let browsers and clients trust it); "


def _serve(settings: Settings, pair: "Pair") -> bool:
    """Lay a pair where the proxy reads it; whether that is another than before."""
    files, uid = Files.of(settings), int(settings["AIRFLOW_UID"])
    # Read, not compared by hand: a key that was made readable for others is written anew too.
    same = not isinstance(held := _read(files.certificate, files.key), str) and held == pair
    if same and not files.key.stat().st_mode & 0o077:
        return False
    if os.getuid() not in (0, uid):
        raise StackError(
            f"the proxy runs as AIRFLOW_UID={uid} and could not read a key of yours: leave it "
            "blank in .env, then inv install"
        )
    _write(files.key, pair.key, 0o600, uid)
    _write(files.certificate, pair.certificate, 0o644, uid)
    return True


def _write(path: Path, data: bytes, mode: int, uid: int | None = None) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}")
    beside.unlink(missing_ok=True)
    with os.fdopen(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
        file.write(data)
    if uid is not None and os.getuid() == 0:
        os.chown(beside, uid, 0)
    beside.chmod(mode)
    beside.replace(path)


def _read(certificate: Path, key: Path) -> "Pair | str":
    """A pair from its files, or why it cannot be read."""
    from cryptography import x509
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    from orchestration.authority import Pair

    try:
        pair = Pair(certificate.read_bytes(), key.read_bytes())
    except OSError as error:
        return f"{error.filename} cannot be read ({error.strerror}): mend TLS_CERTIFICATE, TLS_KEY"
    try:
        x509.load_pem_x509_certificate(pair.certificate)
    except ValueError:
        return f"{certificate} holds no certificate in PEM: set TLS_CERTIFICATE in .env"
    try:
        load_pem_private_key(pair.key, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        return f"{key} holds no key in PEM that opens without a passphrase: set TLS_KEY in .env"
    return pair


def _fits(pair: "Pair") -> bool:
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    public = load_pem_private_key(pair.key, password=None).public_key()
    return bool(public == pair.opened.public_key())


def _lasts(pair: "Pair") -> bool:
    return pair.opened.not_valid_after_utc > datetime.now(UTC) + ENDS_SOON


def _good(pair: "Pair", authority: "Pair", hosts: list[str]) -> bool:
    """It is the CA's, for these hosts, and goes on for a while."""
    try:
        pair.opened.verify_directly_issued_by(authority.opened)
    except Exception:
        # Of any kind: what cannot be verified is made anew.
        return False
    return _fits(pair) and _lasts(pair) and _hosts(pair.opened) == set(hosts)


def _hosts(certificate: "Certificate") -> set[str]:
    """The names and addresses that a certificate is for, as browsers read it."""
    from cryptography import x509

    try:
        found = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return set()
    names = found.get_values_for_type(x509.DNSName)
    return {*map(str.lower, names), *map(str, found.get_values_for_type(x509.IPAddress))}


def _names(certificate: "Certificate", host: str) -> bool:
    held, name = _hosts(certificate), host.lower()
    try:
        return str(ipaddress.ip_address(name)) in held
    except ValueError:
        # A star stands for one label.
        return name in held or f"*.{name.partition('.')[2]}" in held
