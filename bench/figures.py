"""Figures by measure and stack, what they come to, and what is aimed at."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from statistics import median

# By measure; by measure and column, one figure for each round.
Figures = dict[str, float]
Results = dict[str, dict[str, list[float]]]
COLUMNS = ("ours", "stock", "standalone")
# Behind it stands a part of a measure, as one service's: in the JSON alone.
PART = ": "


@dataclass(frozen=True)
class Measure:
    """What a figure is, and what is aimed at: a ratio of ours to stock, or a figure of ours."""

    unit: str = "s"
    ratio: float | None = None
    most: float | None = None
    more_is_better: bool = False


MEASURES = {
    "up, empty": Measure(ratio=0.28),
    "up, again": Measure(ratio=0.25),
    "idle CPU": Measure("% of a core", ratio=0.25),
    "idle memory": Measure("MiB", ratio=0.45),
    "chain of 10": Measure(ratio=0.4),
    "100 mapped tasks": Measure(ratio=0.6),
    "peak memory under load": Measure("MiB"),
    "runs with 100 metrics": Measure("a second", more_is_better=True),
    "MLflow's memory": Measure("MiB"),
    "Airflow image": Measure("GB", most=1.35),
    "MLflow image": Measure("GB", most=1.0),
    "status image": Measure("GB"),
    "changed requirement until it runs": Measure(most=40),
}


def add(results: Results, column: str, figures: Mapping[str, float]) -> None:
    """One round's figures beside those of the rounds before."""
    for measure, value in figures.items():
        results.setdefault(measure, {}).setdefault(column, []).append(round(value, 3))


def about(measure: str) -> Measure:
    """What is known of a measure; of a part its unit."""
    if measure in MEASURES:
        return MEASURES[measure]
    whole = MEASURES.get(measure.partition(PART)[0], Measure())
    return Measure(whole.unit, more_is_better=whole.more_is_better)


def middle(results: Results, measure: str, column: str) -> float | None:
    """The median of a column's rounds; None where it has none."""
    values = results.get(measure, {}).get(column)
    return median(values) if values else None


def ratio(results: Results, measure: str, column: str = "ours") -> float | None:
    """A column's median to that of stock, below 1 where it is the better; None without both."""
    value, stock = middle(results, measure, column), middle(results, measure, "stock")
    if not value or not stock:
        return None
    return stock / value if about(measure).more_is_better else value / stock


def met(results: Results, measure: str) -> bool | None:
    """Whether ours is as it is aimed at; None where nothing is, or not enough is measured."""
    aim = about(measure)
    if aim.most is not None:
        value, limit = middle(results, measure, "ours"), aim.most
    else:
        value, limit = ratio(results, measure), aim.ratio
    return None if value is None or limit is None else value <= limit


def whole(results: Results) -> Iterator[str]:
    """The measures that are no part of another."""
    return (measure for measure in results if PART not in measure)


def missed(results: Results) -> list[str]:
    """Measures that are above what is aimed at."""
    return [measure for measure in whole(results) if met(results, measure) is False]


def open_goals(results: Results) -> list[str]:
    """What is aimed at and cannot be told from these figures."""
    aims = (name for name, aim in MEASURES.items() if aim.ratio or aim.most)
    return [measure for measure in aims if met(results, measure) is None]
