"""How long and how often each thing is measured."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Effort:
    """Within one round."""

    settle_seconds: float = 60
    idle_seconds: float = 180
    # Of what is quick and differs from one time to the next.
    repeats: int = 3
    commands: int = 7
    searches: int = 7
    logged_runs: int = 200
    # A thousand mapped tasks too, which take minutes.
    thousand: bool = True


FULL = Effort()
# To see whether all of it works: its figures are no measure.
SHORT = Effort(10, 15, repeats=1, commands=2, searches=2, logged_runs=20, thousand=False)
