"""Collect figures by measure and stack, and compare their medians with the goals."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from statistics import median

# Values by measure, and values by measure and column with one figure for each round.
Figures = dict[str, float]
Results = dict[str, dict[str, list[float]]]
COLUMNS = ("ours", "stock", "standalone")
# Separates a measure from one of its parts, such as a service. Only the JSON contains parts.
PART = ": "


@dataclass(frozen=True)
class Measure:
    """Unit and goal of a measure: at most `ratio` of stock, or at most `most` units."""

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
    """Append the figures of one round to those of earlier rounds."""
    for measure, value in figures.items():
        results.setdefault(measure, {}).setdefault(column, []).append(round(value, 3))


def describe(measure: str) -> Measure:
    """Return the unit and goal of a measure. A part has the unit of its measure and no goal."""
    if measure in MEASURES:
        return MEASURES[measure]
    whole = MEASURES.get(measure.partition(PART)[0], Measure())
    return Measure(whole.unit, more_is_better=whole.more_is_better)


def median_of(results: Results, measure: str, column: str) -> float | None:
    """Return the median over a column's rounds, or None if it has none."""
    values = results.get(measure, {}).get(column)
    return median(values) if values else None


def ratio(results: Results, measure: str, column: str = "ours") -> float | None:
    """Return a column's ratio to stock, below 1 if it is better, or None if either is missing."""
    value, stock = median_of(results, measure, column), median_of(results, measure, "stock")
    if not value or not stock:
        return None
    return stock / value if describe(measure).more_is_better else value / stock


def met(results: Results, measure: str) -> bool | None:
    """Return whether ours meets the goal, or None without a goal or without enough figures."""
    goal = describe(measure)
    if goal.most is not None:
        value, limit = median_of(results, measure, "ours"), goal.most
    else:
        value, limit = ratio(results, measure), goal.ratio
    return None if value is None or limit is None else value <= limit


def whole(results: Results) -> Iterator[str]:
    """Return the measures that are not part of another one."""
    return (measure for measure in results if PART not in measure)


def missed(results: Results) -> list[str]:
    """Return the measures that miss their goal."""
    return [measure for measure in whole(results) if met(results, measure) is False]


def open_goals(results: Results) -> list[str]:
    """Return the measures whose goal cannot be evaluated with these figures."""
    goals = (name for name, measure in MEASURES.items() if measure.ratio or measure.most)
    return [measure for measure in goals if met(results, measure) is None]
