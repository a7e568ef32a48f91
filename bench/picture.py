"""Draw the saved figures: this stack compared with the stock one, and with its goals.

This runs in an environment of its own (`install/bench.lock`), which has matplotlib and none of the
packages that measuring needs.
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
from bench.report import digits

OURS, STANDALONE, GOAL, STOCK = "#2a6f97", "#a9c9dd", "#c1121f", "#444444"
ROW_INCHES, LONGEST = 0.34, 2
TEXT = {"va": "center", "fontsize": 8}


def main(folder: Path) -> None:
    """Draw `results.json` of a folder into `results.png`, if it exists."""
    file = folder / "results.json"
    if file.exists():
        document = json.loads(file.read_text())
        draw(document["results"], document["of"]).savefig(file.with_suffix(".png"), dpi=120)
        print(file.with_suffix(".png"))


def draw(results: Results, state: Mapping[str, Any]) -> Figure:
    """Draw two panels: ratios to stock, and figures as a share of their absolute goals."""
    measures = list(figures.whole(results))
    compared = [name for name in measures if figures.ratio(results, name)]
    absolute = [name for name in measures if figures.describe(name).most and name not in compared]
    rows = [max(1, len(compared)), max(1, len(absolute))]
    picture = Figure(figsize=(10, 1.9 + ROW_INCHES * sum(rows)), layout="constrained")
    picture.suptitle(
        f"{state['commit']}, {state['date']}: {state['cpus']} CPUs, {state['memory_gib']} GiB",
        fontsize=10,
    )
    above, below = picture.subplots(2, 1, height_ratios=[rows[0] + 1, rows[1] + 1])
    draw_ratios(above, results, compared)
    draw_goals(below, results, absolute)
    return picture


def draw_ratios(axes: Axes, results: Results, measures: Sequence[str]) -> None:
    """Draw the ratios of ours and standalone to stock as bars, and the goals as marks."""
    for row, measure in enumerate(measures):
        ours, alone = (figures.ratio(results, measure, name) for name in ("ours", "standalone"))
        place, height = (row - 0.2, 0.4) if alone else (row, 0.7)
        text = values_text(results, measure, "ours", "stock")
        draw_bar(axes, place, ours or 0, OURS, height, text)
        if alone:
            text = values_text(results, measure, "standalone")
            draw_bar(axes, row + 0.2, alone, STANDALONE, 0.4, text)
        if (goal := figures.describe(measure).ratio) is not None:
            draw_mark(axes, row, goal)
    axes.axvline(1, color=STOCK, linewidth=1, linestyle="--")
    title = f"Ratio to the stock stack (dashed line: 1). Shorter is better. Cut at {LONGEST}."
    label(axes, measures, title)
    for name, colour in (("this stack", OURS), ("without Docker", STANDALONE), ("goal", GOAL)):
        axes.barh([0], [0], color=colour, label=name)
    axes.legend(loc="upper right", fontsize=8, framealpha=1)


def draw_goals(axes: Axes, results: Results, measures: Sequence[str]) -> None:
    """Draw figures with an absolute goal as a share of that goal."""
    for row, measure in enumerate(measures):
        goal = figures.describe(measure)
        value = figures.median_of(results, measure, "ours") or 0
        text = f"{digits(value)} {goal.unit}, goal {goal.most:g} {goal.unit}"
        draw_bar(axes, row, value / (goal.most or 1), OURS, 0.7, text)
        draw_mark(axes, row, 1)
    label(axes, measures, "Ratio to the goal (1)")


def draw_bar(axes: Axes, place: float, value: float, colour: str, height: float, text: str) -> None:
    """Draw a bar with its ratio and a text at the right edge. The panel cuts a longer bar."""
    axes.barh(place, value, height, color=colour)
    axes.text(1.01, place, f"{value:.2f}", transform=axes.get_yaxis_transform(), **TEXT)
    axes.text(1.06, place, text, transform=axes.get_yaxis_transform(), **TEXT)


def draw_mark(axes: Axes, row: int, goal: float) -> None:
    """Mark the goal of a row."""
    axes.plot([goal, goal], [row - 0.45, row + 0.45], color=GOAL, linewidth=2.5)


def values_text(results: Results, measure: str, *columns: str) -> str:
    """Return the values behind a ratio, with their unit."""
    values = [digits(figures.median_of(results, measure, column)) for column in columns]
    return f"{' / '.join(values)} {figures.describe(measure).unit}"


def label(axes: Axes, measures: Sequence[str], title: str) -> None:
    """Set the title, and the names of the measures at the left with the first one at the top."""
    axes.set_title(title, fontsize=10, loc="left")
    axes.set_yticks(range(len(measures)), [name.replace("`", "") for name in measures], fontsize=9)
    axes.set_ylim(len(measures) - 0.4, -0.6)
    axes.set_xlim(0, min(LONGEST, max(1.2, axes.get_xlim()[1])))
    axes.grid(axis="x", alpha=0.3)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
