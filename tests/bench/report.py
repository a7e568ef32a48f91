"""The figures of a benchmark: kept as JSON, told as a table with what was aimed at."""

import json
import platform
import subprocess
from collections.abc import Iterator, Mapping
from datetime import date
from pathlib import Path
from statistics import median
from typing import Any

import psutil

from tests.smoke.clone import ROOT

# At most this ratio of ours to stock.
RATIOS = {
    "up, empty": 0.28, "up, again": 0.25, "idle memory": 0.45, "idle CPU": 0.25,
    "100 mapped tasks": 0.6,
}  # fmt: skip
# Shown in the table; the rest are parts of these, and stand in the JSON alone.
PART = ": "

Figures = dict[str, float]
Results = dict[str, dict[str, list[float]]]


def add(results: Results, stack: str, figures: Mapping[str, float]) -> None:
    """One round's figures beside those of the rounds before."""
    for measure, value in figures.items():
        results.setdefault(measure, {}).setdefault(stack, []).append(round(value, 3))


def write(file: Path, results: Results) -> None:
    """Keep all figures with the machine, the commit and the date they are of."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps({"of": circumstances(), "results": results}, indent=1) + "\n")


def circumstances() -> dict[str, Any]:
    """Where and when; the commit is that of this checkout."""
    argv = ["git", "-C", str(ROOT), "describe", "--always", "--dirty"]
    commit = subprocess.run(argv, capture_output=True, text=True, check=True).stdout.strip()
    return {
        "date": date.today().isoformat(),
        "commit": commit,
        "cpus": psutil.cpu_count(),
        "memory_gib": round(psutil.virtual_memory().total / 1024**3),
        "system": platform.platform(terse=True),
    }


def table(results: Results) -> Iterator[str]:
    """Each measure with medians, ratio and goal, in Markdown."""
    yield "| | ours | stock | ratio | goal |"
    yield "|---|---|---|---|---|"
    for measure, by_stack in results.items():
        if PART in measure:
            continue
        ours, stock = (middle(by_stack, name) for name in ("ours", "stock"))
        told = [ours, stock, ours / stock if ours and stock else None]
        goal = f"≤ {RATIOS[measure]}" if measure in RATIOS else ""
        yield f"| {measure} | {' | '.join(map(figure, told))} | {goal} |"


def middle(by_stack: Mapping[str, list[float]], name: str) -> float | None:
    """The median of a stack's rounds; None where it has none."""
    return median(by_stack[name]) if by_stack.get(name) else None


def figure(value: float | None) -> str:
    """Three digits."""
    return "" if value is None else f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def missed(results: Results) -> Iterator[str]:
    """Measures that are above what is aimed at."""
    for measure, by_stack in results.items():
        ours, stock = (middle(by_stack, name) for name in ("ours", "stock"))
        if ours and stock and ours / stock > RATIOS.get(measure, float("inf")):
            yield measure
