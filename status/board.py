"""The last round of verdicts, aged: what is shown, since when, and what it amounts to."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from status.verdict import Verdict

# Nothing here defers its tasks, so runs go on without the triggerer; they do not without the rest.
OPTIONAL = {"airflow-triggerer"}
STALE_INTERVALS = 3


@dataclass(frozen=True)
class Shown:
    """A verdict and the moment its service entered that state, as far as this process saw."""

    verdict: Verdict
    since: datetime


@dataclass(frozen=True)
class Board:
    """What every viewer sees at one moment; `checked_at` is None before the first round."""

    services: list[Shown]
    checked_at: datetime | None

    @property
    def status(self) -> str:
        """Sum up: "down" when an essential service is down or unknown, "healthy" when all is up."""
        states = {shown.verdict.name: shown.verdict.state for shown in self.services}
        if any(states[name] in ("down", "unknown") for name in states.keys() - OPTIONAL):
            return "down"
        return "healthy" if set(states.values()) == {"up"} else "degraded"


class Rounds:
    """Keeps the last round of verdicts and lets it grow old.

    `interval` is the seconds between rounds; `clock` tells monotonic seconds.
    """

    def __init__(
        self, names: list[str], interval: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._clock = clock
        self._limit = STALE_INTERVALS * interval
        self._recorded = clock()
        self._checked_at: datetime | None = None
        waiting = [Verdict(name, "unknown", "not asked yet") for name in names]
        self._services = [Shown(verdict, datetime.now(UTC)) for verdict in waiting]

    def record(self, verdicts: list[Verdict]) -> None:
        """Take in a finished round; a service that kept its state keeps its `since`."""
        now = datetime.now(UTC)
        before = {shown.verdict.name: shown for shown in self.board().services}
        self._services = [Shown(new, _since(before[new.name], new, now)) for new in verdicts]
        self._recorded, self._checked_at = self._clock(), now

    def board(self) -> Board:
        """Show the last round, or all services as unknown once it is older than three intervals."""
        age = self._clock() - self._recorded
        if age <= self._limit or self._checked_at is None:
            return Board(self._services, self._checked_at)
        why = f"stale: the last round is {age:.0f} s old"
        expired = self._checked_at + timedelta(seconds=self._limit)
        unknown = [Verdict(shown.verdict.name, "unknown", why) for shown in self._services]
        return Board(
            [
                Shown(new, _since(shown, new, expired))
                for shown, new in zip(self._services, unknown, strict=True)
            ],
            self._checked_at,
        )


def _since(before: Shown, verdict: Verdict, now: datetime) -> datetime:
    return before.since if before.verdict.state == verdict.state else now
