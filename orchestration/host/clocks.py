"""Compare this machine's clock with those of the engine and the package index."""

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from urllib.parse import urlsplit

from orchestration.errors import Problem
from orchestration.host.minimums import CLOCK_SKEW_SECONDS, EARLIEST, INDEX_SKEW_SECONDS
from orchestration.host.reachability import fetch_headers
from orchestration.host.resources import Host
from orchestration.settings.model import Settings

PYPI = "https://pypi.org/simple/"
SET_CLOCK = "sudo timedatectl set-ntp true"


def clock_problems(host: Host) -> Iterator[Problem]:
    """Yield each clock that is wrong enough for tokens, certificates or S3 requests to fail."""
    if now() < EARLIEST:
        yield _skewed(f"This machine's clock shows {now():%Y-%m-%d}, a date in the past.")
    engine, index = host.clock_ahead, host.index_ahead
    if engine and abs(engine) > CLOCK_SKEW_SECONDS:
        yield _skewed(
            f"The engine's clock is {_offset(engine)} this machine's, so tokens are rejected.",
            "Restart the engine (Docker Desktop: quit and start it).",
        )
    if index and abs(index) > INDEX_SKEW_SECONDS:
        yield _skewed(
            f"This machine's clock is {_offset(-index)} the clock of {host.index}, so "
            "certificates and S3 requests are rejected."
        )


def _skewed(cause: str, fix: str = SET_CLOCK) -> Problem:
    return Problem("clock-skewed", cause, fix, "machine")


def now() -> datetime:
    """Return the time according to this machine's clock."""
    return datetime.now(UTC)


def seconds_ahead(moment: datetime) -> float:
    """Return by how many seconds another clock, read just now, is ahead of this machine's."""
    return (moment - now()).total_seconds()


def _offset(seconds: float) -> str:
    return f"{abs(seconds):.0f} s {'ahead of' if seconds > 0 else 'behind'}"


def read_index_clock(settings: Settings) -> tuple[str, float | None]:
    """Return the package index's host and its clock's lead in seconds (None: no answer)."""
    address = settings["PYPI_INDEX_URL"] or PYPI
    # Only the host is returned: the address may contain a password.
    name = urlsplit(address).hostname or ""
    headers = fetch_headers(address, settings["CA_BUNDLE"]) if name else None
    return name, None if headers is None else _seconds_ahead_in(headers)


def _seconds_ahead_in(headers: Mapping[str, str]) -> float:
    try:
        # A cache returns the date of the original response, and in Age how long ago that was.
        age = timedelta(seconds=int(headers.get("Age", 0)))
        return seconds_ahead(parsedate_to_datetime(headers["Date"]) + age)
    except (KeyError, ValueError, TypeError):
        return 0.0
