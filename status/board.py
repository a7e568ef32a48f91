"""The last round, aged: what is shown, since when, how the last hour went, what it amounts to."""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

from status.probes import Round
from status.verdict import Verdict

# Nothing here defers its tasks, so runs go on without the triggerer; they do not without the rest.
OPTIONAL = {"airflow-triggerer"}
STALE_INTERVALS = 3
HISTORY_MINUTES = 60
WORST_FIRST = ("down", "degraded", "unknown", "up")


@dataclass(frozen=True)
class Shown:
    """A verdict and the moment its service entered that state, as far as this process saw.

    `history` is the worst state of each of the last HISTORY_MINUTES, "" before there was one.
    """

    verdict: Verdict
    since: datetime
    history: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """The service's name."""
        return self.verdict.name


@dataclass(frozen=True)
class Board:
    """What every viewer sees at one moment; `checked_at` is None before the first round."""

    services: list[Shown]
    checked_at: datetime | None
    round: Round

    @property
    def status(self) -> str:
        """Sum up: "down" when an essential service is down or unknown, "healthy" when all is up."""
        states = {shown.verdict.name: shown.verdict.state for shown in self.services}
        if any(states[name] in ("down", "unknown") for name in states.keys() - OPTIONAL):
            return "down"
        return "healthy" if set(states.values()) == {"up"} else "degraded"

    @property
    def attention(self) -> list[Verdict]:
        """The work that went wrong; the services may be well all the same."""
        return [one for one in self.round.work if one.state in ("down", "degraded")]


class History:
    """The worst state of each minute, an hour long; minutes that nobody looked at are unknown."""

    def __init__(self) -> None:
        self._minutes: dict[int, str] = {}

    def add(self, minute: int, state: str) -> None:
        """Take in a state seen in a minute."""
        worst = min(state, self._minutes.get(minute, state), key=WORST_FIRST.index)
        self._minutes[minute] = worst
        if len(self._minutes) > HISTORY_MINUTES:
            del self._minutes[next(iter(self._minutes))]

    def strip(self, minute: int) -> tuple[str, ...]:
        """The hour up to `minute`, the newest last."""
        first, seen = min(self._minutes, default=minute), dict(self._minutes)
        # The running minute has not been looked at until its first round.
        seen.setdefault(minute, "")
        hour = range(minute - HISTORY_MINUTES + 1, minute + 1)
        return tuple(seen.get(each, "" if each < first else "unknown") for each in hour)


class Rounds:
    """Keeps the last round and lets it grow old.

    `waiting` stands in before the first one; `interval` is the seconds between rounds; `clock`
    tells monotonic seconds.
    """

    def __init__(
        self, waiting: Round, interval: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._clock = clock
        self._limit = STALE_INTERVALS * interval
        self._recorded = clock()
        self._checked_at: datetime | None = None
        self._round = waiting
        self._history = {verdict.name: History() for verdict in waiting.services}
        self._services = [Shown(verdict, datetime.now(UTC)) for verdict in waiting.services]

    def record(self, new: Round) -> None:
        """Take in a finished round; a service that kept its state keeps its `since`."""
        now = datetime.now(UTC)
        self._services = _entered(self.board().services, new.services, now)
        self._round, self._recorded, self._checked_at = new, self._clock(), now
        for verdict in new.services:
            self._history[verdict.name].add(self._minute(), verdict.state)

    def board(self) -> Board:
        """Show the last round, or all services as unknown once it is older than three intervals."""
        services, last, age = self._services, self._round, self._clock() - self._recorded
        if age > self._limit and self._checked_at:
            why = f"stale: the last round is {age:.0f} s old"
            expired = self._checked_at + timedelta(seconds=self._limit)
            last = Round(_unknown(last.services, why), _unknown(last.work, why))
            services = _entered(services, last.services, expired)
        minute = self._minute()
        shown = [replace(one, history=self._history[one.name].strip(minute)) for one in services]
        return Board(shown, self._checked_at, last)

    def _minute(self) -> int:
        return int(self._clock() // 60)


def _entered(before: list[Shown], verdicts: list[Verdict], now: datetime) -> list[Shown]:
    """What is shown from now on; a service that kept its state entered it before."""
    held = {(shown.name, shown.verdict.state): shown.since for shown in before}
    return [Shown(one, held.get((one.name, one.state), now)) for one in verdicts]


def _unknown(verdicts: list[Verdict], why: str) -> list[Verdict]:
    return [Verdict(one.name, "unknown", why) for one in verdicts]
