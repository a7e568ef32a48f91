"""The last round, aged: what is shown, since when, how the last hour went, what it amounts to."""

import time
from collections import deque
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
        self._minutes: deque[tuple[int, str]] = deque(maxlen=HISTORY_MINUTES)

    def add(self, minute: int, state: str) -> None:
        """Take in a state seen in a minute."""
        if self._minutes and self._minutes[-1][0] == minute:
            state = min(state, self._minutes.pop()[1], key=WORST_FIRST.index)
        self._minutes.append((minute, state))

    def strip(self, minute: int) -> tuple[str, ...]:
        """The hour up to `minute`, the newest last."""
        if not self._minutes:
            return ("",) * HISTORY_MINUTES
        seen, first = dict(self._minutes), self._minutes[0][0]
        hour = range(minute - HISTORY_MINUTES + 1, minute + 1)
        # The running minute has not been looked at until its first round.
        last = max(seen)
        return tuple(
            seen.get(each, "" if each < first or each == minute > last else "unknown")
            for each in hour
        )


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
        before = {shown.verdict.name: shown for shown in self.board().services}
        self._services = [Shown(one, _since(before[one.name], one, now)) for one in new.services]
        self._round, self._recorded, self._checked_at = new, self._clock(), now
        for verdict in new.services:
            self._history[verdict.name].add(self._minute(), verdict.state)

    def board(self) -> Board:
        """Show the last round, or all services as unknown once it is older than three intervals."""
        age = self._clock() - self._recorded
        if age <= self._limit or self._checked_at is None:
            services, last = self._services, self._round
        else:
            why = f"stale: the last round is {age:.0f} s old"
            expired = self._checked_at + timedelta(seconds=self._limit)
            services = [_unknown(shown, why, expired) for shown in self._services]
            last = Round([], [Verdict(one.name, "unknown", why) for one in self._round.work])
        strips = {name: history.strip(self._minute()) for name, history in self._history.items()}
        return Board(
            [replace(shown, history=strips[shown.verdict.name]) for shown in services],
            self._checked_at,
            last,
        )

    def _minute(self) -> int:
        return int(self._clock() // 60)


def _unknown(shown: Shown, why: str, expired: datetime) -> Shown:
    verdict = Verdict(shown.verdict.name, "unknown", why)
    return Shown(verdict, _since(shown, verdict, expired))


def _since(before: Shown, verdict: Verdict, now: datetime) -> datetime:
    return before.since if before.verdict.state == verdict.state else now
