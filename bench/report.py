"""The figures of a benchmark as a table, with what was aimed at."""

from collections.abc import Iterator

from bench import figures
from bench.figures import COLUMNS, Results


def table(results: Results) -> Iterator[str]:
    """Each measure with medians, ratio, goal and whether it is met, in Markdown."""
    yield f"| | unit | {' | '.join(COLUMNS)} | ours / stock | goal | |"
    yield "|---|---|---|---|---|---|---|---|"
    for measure in figures.whole(results):
        told = [figures.middle(results, measure, column) for column in COLUMNS]
        told.append(figures.ratio(results, measure))
        cells = [measure, figures.about(measure).unit, *map(figure, told), *goal(results, measure)]
        yield f"| {' | '.join(cells)} |"


def goal(results: Results, measure: str) -> tuple[str, str]:
    """What is aimed at, and whether it is met; blank where nothing is."""
    aim = figures.about(measure)
    if aim.ratio is None and aim.most is None:
        return "", ""
    told = f"≤ {aim.ratio}" if aim.most is None else f"≤ {aim.most:g} {aim.unit}"
    words = {True: "met", False: "missed", None: "not compared"}
    return told, words[figures.met(results, measure)]


def figure(value: float | None) -> str:
    """Three digits."""
    return "" if value is None else f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
