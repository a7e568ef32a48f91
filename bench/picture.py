"""A picture of the figures that are kept: this stack beside the stock one, and beside its goals.

It is drawn in an environment of its own (`install/bench.lock`), which has matplotlib and none of
what measuring needs.
"""

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bench import figures
from bench.figures import Results
from bench.report import figure as digits

OURS, STANDALONE, GOAL, STOCK = "#2a6f97", "#a9c9dd", "#c1121f", "#444444"
ROW_INCHES, LONGEST = 0.34, 2
TEXT = {"va": "center", "fontsize": 8}


def main(folder: Path) -> None:
    """Draw what is kept in a folder, beside it; says nothing where nothing is."""
    kept = folder / "results.json"
    if kept.exists():
        document = json.loads(kept.read_text())
        drawn(document["results"], document["of"]).savefig(kept.with_suffix(".png"), dpi=120)
        print(kept.with_suffix(".png"))


def drawn(results: Results, of: Mapping[str, Any]) -> Figure:
    """Two panels: ratios to stock, and what has an absolute goal as a share of it."""
    measures = list(figures.whole(results))
    compared = [one for one in measures if figures.ratio(results, one)]
    aimed = [one for one in measures if figures.about(one).most and one not in compared]
    rows = [max(1, len(compared)), max(1, len(aimed))]
    picture = Figure(figsize=(10, 1.9 + ROW_INCHES * sum(rows)), layout="constrained")
    picture.suptitle(
        f"{of['commit']}, {of['date']}: {of['cpus']} processors, {of['memory_gib']} GiB",
        fontsize=10,
    )
    above, below = picture.subplots(2, 1, height_ratios=[rows[0] + 1, rows[1] + 1])
    beside_stock(above, results, compared)
    beside_goals(below, results, aimed)
    return picture


def beside_stock(axes: Axes, results: Results, measures: Sequence[str]) -> None:
    """Bars of ours and standalone as a part of stock's, with the goals as marks."""
    for row, measure in enumerate(measures):
        ours, alone = (figures.ratio(results, measure, name) for name in ("ours", "standalone"))
        place, thick = (row - 0.2, 0.4) if alone else (row, 0.7)
        bar(axes, place, ours or 0, OURS, thick, beside(results, measure, "ours", "stock"))
        if alone:
            bar(axes, row + 0.2, alone, STANDALONE, 0.4, beside(results, measure, "standalone"))
        if (goal := figures.about(measure).ratio) is not None:
            mark(axes, row, goal)
    axes.axvline(1, color=STOCK, linewidth=1, linestyle="--")
    dressed(
        axes, measures, f"beside the stock stack (dashed: 1); shorter is better; cut at {LONGEST}"
    )
    for name, colour in (("this stack", OURS), ("without Docker", STANDALONE), ("goal", GOAL)):
        axes.barh([0], [0], color=colour, label=name)
    axes.legend(loc="upper right", fontsize=8, framealpha=1)


def beside_goals(axes: Axes, results: Results, measures: Sequence[str]) -> None:
    """Bars of what has a goal of its own, as a part of that."""
    for row, measure in enumerate(measures):
        aim, value = figures.about(measure), figures.middle(results, measure, "ours") or 0
        told = f"{digits(value)} {aim.unit}, goal {aim.most:g} {aim.unit}"
        bar(axes, row, value / (aim.most or 1), OURS, 0.7, told)
        mark(axes, row, 1)
    dressed(axes, measures, "beside what is aimed at (1)")


def bar(axes: Axes, place: float, value: float, colour: str, thick: float, told: str) -> None:
    """One, with its figures at the right edge; what is longer than the panel is cut."""
    axes.barh(place, value, thick, color=colour)
    axes.text(1.01, place, f"{value:.2f}", transform=axes.get_yaxis_transform(), **TEXT)
    axes.text(1.06, place, told, transform=axes.get_yaxis_transform(), **TEXT)


def mark(axes: Axes, row: int, goal: float) -> None:
    """A goal."""
    axes.plot([goal, goal], [row - 0.45, row + 0.45], color=GOAL, linewidth=2.5)


def beside(results: Results, measure: str, *columns: str) -> str:
    """The figures that a ratio is of."""
    told = [digits(figures.middle(results, measure, column)) for column in columns]
    return f"{' / '.join(told)} {figures.about(measure).unit}"


def dressed(axes: Axes, measures: Sequence[str], title: str) -> None:
    """Names at the left, the first one above."""
    axes.set_title(title, fontsize=10, loc="left")
    axes.set_yticks(range(len(measures)), [name.replace("`", "") for name in measures], fontsize=9)
    axes.set_ylim(len(measures) - 0.4, -0.6)
    axes.set_xlim(0, min(LONGEST, max(1.2, axes.get_xlim()[1])))
    axes.grid(axis="x", alpha=0.3)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
