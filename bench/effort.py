"""Set how long and how often each measure is taken."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Effort:
    """Durations and counts of one round."""

    settle_seconds: float = 60
    idle_seconds: float = 180
    # For quick measures that vary.
    repeats: int = 3
    commands: int = 7
    searches: int = 7
    logged_runs: int = 200
    # Also run a thousand mapped tasks, which takes minutes.
    thousand: bool = True


FULL = Effort()
# For testing the benchmark. Its figures mean nothing.
SHORT = Effort(10, 15, repeats=1, commands=2, searches=2, logged_runs=20, thousand=False)
