"""Draw small SVG pictures: the last hour of a service, and drift by month."""

from collections import Counter
from collections.abc import Mapping, Sequence
from html import escape
from itertools import groupby

HEIGHT = 60
BAR, GAP = 14, 4


def strip(history: Sequence[str]) -> str:
    """Draw the states of the last hour as a colored strip, with a text alternative."""
    pieces, start = [], 0
    for state, minutes in groupby(history):
        width = len(list(minutes))
        if state:
            pieces.append(f'<rect class="{state}" x="{start}" width="{width}" height="10"/>')
        start += width
    counts = Counter(filter(None, history))
    summary = ", ".join(f"{state} {number} min" for state, number in counts.items())
    return (
        f'<svg class="strip" role="img" viewBox="0 0 {len(history)} 10" preserveAspectRatio="none"'
        f' aria-label="last hour: {summary or "no data"}">{"".join(pieces)}</svg>'
    )


def drift(months: Mapping[str, float], limit: float) -> str:
    """Draw each month's share of drifted columns (0 to 1) as a bar, and the limit as a line."""
    width, full = len(months) * (BAR + GAP), max(2 * limit, *months.values())
    bars = [
        f'<rect class="{"degraded" if share >= limit else "up"}" x="{number * (BAR + GAP)}" '
        f'y="{HEIGHT * (1 - share / full):.1f}" width="{BAR}" '
        f'height="{max(HEIGHT * share / full, 1):.1f}">'
        f"<title>{escape(month)}: {share:.0%}</title></rect>"
        for number, (month, share) in enumerate(months.items())
    ]
    height = HEIGHT * (1 - limit / full)
    line = f'<line x1="0" x2="{width}" y1="{height:.1f}" y2="{height:.1f}"/>'
    summary = ", ".join(f"{month} {share:.0%}" for month, share in months.items())
    return (
        f'<svg class="drift" role="img" viewBox="0 0 {width} {HEIGHT}" width="{width}" '
        f'height="{HEIGHT}" aria-label="drifted columns: {escape(summary)}; limit {limit:.0%}">'
        f"{''.join(bars)}{line}</svg>"
    )
