"""Clocks that are compared: this machine's, the engine's, the package index's."""

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from urllib.parse import urlsplit

from orchestration.errors import Problem
from orchestration.host.minimums import CLOCK_SKEW_SECONDS, EARLIEST, INDEX_SKEW_SECONDS
from orchestration.host.reachability import headers_of
from orchestration.host.resources import Host
from orchestration.settings.model import Settings

PYPI = "https://pypi.org/simple/"
SET_CLOCK = "sudo timedatectl set-ntp true"


def clock_problems(host: Host) -> Iterator[Problem]:
    """Yield each clock that is wrong: tokens, certificates and S3 fail because of it."""
    if now() < EARLIEST:
        yield _skewed(f"This machine's clock shows {now():%Y-%m-%d}, a date in the past.")
    if host.ahead and abs(host.ahead) > CLOCK_SKEW_SECONDS:
        yield _skewed(
            f"The engine's clock is {_apart(host.ahead)} this machine's, so tokens are rejected.",
            "Restart the engine (Docker Desktop: quit and start it).",
        )
    if host.index_ahead and abs(host.index_ahead) > INDEX_SKEW_SECONDS:
        yield _skewed(
            f"This machine's clock is {_apart(-host.index_ahead)} the clock of {host.index}, so "
            "certificates and S3 requests are rejected."
        )


def _skewed(cause: str, fix: str = SET_CLOCK) -> Problem:
    return Problem("clock-skewed", cause, fix, "machine")


def now() -> datetime:
    """The time this machine believes it is."""
    return datetime.now(UTC)


def ahead(moment: datetime) -> float:
    """By how many seconds another clock, just read, is ahead of this machine's."""
    return (moment - now()).total_seconds()


def _apart(seconds: float) -> str:
    return f"{abs(seconds):.0f} s {'ahead of' if seconds > 0 else 'behind'}"


def ask_index(settings: Settings) -> tuple[str, float | None]:
    """The host of the package index and by how much its clock is ahead; None: no answer."""
    address = settings["PYPI_INDEX_URL"] or PYPI
    # The address may hold a password.
    name = urlsplit(address).hostname or ""
    told = headers_of(address, settings["CA_BUNDLE"]) if name else None
    return name, None if told is None else _told_ahead(told)


def _told_ahead(told: Mapping[str, str]) -> float:
    try:
        # A cache gives the date of the answer it kept, and for how long it has kept it.
        age = timedelta(seconds=int(told.get("Age", 0)))
        return ahead(parsedate_to_datetime(told["Date"]) + age)
    except (KeyError, ValueError, TypeError):
        return 0.0
