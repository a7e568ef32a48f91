"""Features of a table without features of its own: its numbers, categories and parts of dates.

Each model contains a copy of this file (see `ml.carried`), so it imports nothing of this project.
"""

from collections.abc import Sequence

import pandas as pd

PARTS = ("month", "day", "weekday", "hour")
# Squares of larger numbers overflow.
HUGE = 1e100


def make(
    rows: pd.DataFrame, numbers: Sequence[str], categories: Sequence[str], dates: Sequence[str]
) -> pd.DataFrame:
    """Return the features of each row. Each row depends on itself only.

    A number that is absent, unreadable or beyond HUGE is missing (NaN), and a missing category is
    "missing".
    """
    known = rows.reindex(columns=[*numbers, *categories, *dates])
    table = {name: known[name].astype(object).where(known[name].notna(), "missing").astype(str)
             for name in categories}  # fmt: skip
    for name in numbers:
        values = pd.to_numeric(known[name], errors="coerce").astype(float)
        table[name] = values.where(values.abs() < HUGE)
    for name in dates:
        time = pd.to_datetime(known[name], errors="coerce", utc=True)
        table |= {f"{name}_{part}": getattr(time.dt, part).astype(float) for part in PARTS}
    return pd.DataFrame(table, index=rows.index)
