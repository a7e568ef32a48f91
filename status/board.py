"""Keep the last round of probes, mark it as stale when it is old, and record the last hour."""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

from status.probes import Round
from status.verdict import Verdict

# Runs do not need the triggerer, because no task of this stack is deferred.
OPTIONAL = {"airflow-triggerer"}
STALE_INTERVALS = 3
HISTORY_MINUTES = 60
WORST_FIRST = ("down", "degraded", "unknown", "up")


@dataclass(frozen=True)
class ServiceStatus:
    """A service's verdict and when this process first saw it in that state.

    `history` is the worst state of each of the last HISTORY_MINUTES, "" before the first round.
    """

    verdict: Verdict
    since: datetime
    history: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """Return the service's name."""
        return self.verdict.name


@dataclass(frozen=True)
class Board:
    """The status shown to all viewers; `checked_at` is None before the first round."""

    services: list[ServiceStatus]
    checked_at: datetime | None
    round: Round

    @property
    def status(self) -> str:
        """Return "down" if an essential service is down or unknown, "healthy" if all are up."""
        states = {service.name: service.verdict.state for service in self.services}
        if any(states[name] in ("down", "unknown") for name in states.keys() - OPTIONAL):
            return "down"
        return "healthy" if set(states.values()) == {"up"} else "degraded"

    @property
    def attention(self) -> list[Verdict]:
        """Return the failed or degraded results of the work; they do not affect `status`."""
        return [one for one in self.round.work if one.state in ("down", "degraded")]


class History:
    """The worst state of each minute of the last hour; minutes without a round are unknown."""

    def __init__(self) -> None:
        self._minutes: dict[int, str] = {}

    def add(self, minute: int, state: str) -> None:
        """Record a state in a minute."""
        worst = min(state, self._minutes.get(minute, state), key=WORST_FIRST.index)
        self._minutes[minute] = worst
        if len(self._minutes) > HISTORY_MINUTES:
            del self._minutes[next(iter(self._minutes))]

    def strip(self, minute: int) -> tuple[str, ...]:
        """Return the states of the hour up to `minute`, the newest last."""
        first, states = min(self._minutes, default=minute), dict(self._minutes)
        # The current minute is blank, not unknown, until its first round.
        states.setdefault(minute, "")
        hour = range(minute - HISTORY_MINUTES + 1, minute + 1)
        return tuple(states.get(each, "" if each < first else "unknown") for each in hour)


class Rounds:
    """Store the last round of probes and mark it as stale when it is too old.

    `initial` is shown before the first round. `interval` is the time between rounds in seconds.
    `clock` returns monotonic seconds.
    """

    def __init__(
        self, initial: Round, interval: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._clock = clock
        self._limit = STALE_INTERVALS * interval
        self._recorded_at = clock()
        self._checked_at: datetime | None = None
        self._round = initial
        self._history = {verdict.name: History() for verdict in initial.services}
        self._services = [ServiceStatus(one, datetime.now(UTC)) for one in initial.services]

    def record(self, new: Round) -> None:
        """Store a finished round; a service that is in the same state keeps its `since`."""
        now = datetime.now(UTC)
        self._services = _with_since(new.services, self.board().services, now)
        self._round, self._recorded_at, self._checked_at = new, self._clock(), now
        for verdict in new.services:
            self._history[verdict.name].add(self._minute(), verdict.state)

    def board(self) -> Board:
        """Return the last round, with all services unknown if it is older than three intervals."""
        services, last, age = self._services, self._round, self._clock() - self._recorded_at
        if age > self._limit and self._checked_at:
            reason = f"stale: last checked {age:.0f} s ago"
            expired = self._checked_at + timedelta(seconds=self._limit)
            last = Round(_unknown(last.services, reason), _unknown(last.work, reason))
            services = _with_since(last.services, services, expired)
        minute = self._minute()
        services = [replace(one, history=self._history[one.name].strip(minute)) for one in services]
        return Board(services, self._checked_at, last)

    def _minute(self) -> int:
        return int(self._clock() // 60)


def _with_since(new: list[Verdict], old: list[ServiceStatus], now: datetime) -> list[ServiceStatus]:
    """Add when each state began: the old time if the state is the same, otherwise `now`."""
    since = {(service.name, service.verdict.state): service.since for service in old}
    return [ServiceStatus(one, since.get((one.name, one.state), now)) for one in new]


def _unknown(verdicts: list[Verdict], reason: str) -> list[Verdict]:
    return [Verdict(one.name, "unknown", reason) for one in verdicts]
