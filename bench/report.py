"""Render the figures of a benchmark as a table with their goals."""

from collections.abc import Iterator

from bench import figures
from bench.figures import COLUMNS, Results


def table(results: Results) -> Iterator[str]:
    """Yield a Markdown table: each measure with its medians, ratio, goal and verdict."""
    yield f"| | unit | {' | '.join(COLUMNS)} | ours / stock | goal | |"
    yield "|---|---|---|---|---|---|---|---|"
    for measure in figures.whole(results):
        values = [figures.median_of(results, measure, column) for column in COLUMNS]
        values.append(figures.ratio(results, measure))
        unit = figures.describe(measure).unit
        cells = [measure, unit, *map(digits, values), *goal(results, measure)]
        yield f"| {' | '.join(cells)} |"


def goal(results: Results, measure: str) -> tuple[str, str]:
    """Return the goal of a measure and the verdict, or empty strings if it has no goal."""
    target = figures.describe(measure)
    if target.ratio is None and target.most is None:
        return "", ""
    text = f"≤ {target.ratio}" if target.most is None else f"≤ {target.most:g} {target.unit}"
    verdicts = {True: "met", False: "missed", None: "not compared"}
    return text, verdicts[figures.met(results, measure)]


def digits(value: float | None) -> str:
    """Format a figure with three digits."""
    return "" if value is None else f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
