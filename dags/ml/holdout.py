"""Hold rows out of training: the last periods, or a stratified sample by a hash of the row."""

import pandas as pd

from ml import Refused, data
from ml.problem import Problem

MIN_ROWS = 20


def split(problem: Problem, rows: pd.DataFrame, holdout: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return (rows to train on, rows held out).

    With a time, the last `holdout` periods are held out, or more to have MIN_ROWS, at most a third
    of the time: a random split would train on the days that are predicted. Without one, `holdout`
    is the percentage of rows. Raises Refused if a part is too small or has only one class.
    """
    if rows.empty:
        raise Refused(f"nothing to train on: no {problem.rows} with a known {problem.target}")
    choose = _last_periods if problem.time else _sample
    later = choose(problem, rows, holdout)
    for name, part in (("train on", rows[~later]), ("hold out", rows[later])):
        _require_enough(problem, name, part)
    return rows[~later], rows[later]


def _last_periods(problem: Problem, rows: pd.DataFrame, holdout: int) -> pd.Series:
    time = data.times(problem, rows)
    periods = time.dt.to_period(data.FREQUENCIES[problem.period]).sort_values()
    first = min(periods.iloc[-1] - (holdout - 1), periods.iloc[-MIN_ROWS:].iloc[0])
    two_thirds = time.min() + (time.max() - time.min()) * 2 / 3
    return time >= max(first.start_time, two_thirds.ceil("D"))


def _sample(problem: Problem, rows: pd.DataFrame, percent: int) -> pd.Series:
    """Choose by a hash of the inputs, so that equal rows are on one side, also in other files."""
    hashes = data.row_ids(problem, rows)
    strata = rows[problem.target] if problem.kind != "regression" else pd.Series(0, rows.index)
    rank = hashes.groupby(strata.astype(str)).rank(method="min", pct=True)
    return rank <= percent / 100


def _require_enough(problem: Problem, name: str, part: pd.DataFrame) -> None:
    what, classes = f"nothing to {name}: needs", part[problem.target].nunique()
    if len(part) < MIN_ROWS:
        raise Refused(f"{what} {MIN_ROWS} {problem.rows}, has {len(part)}")
    if problem.kind != "regression" and classes < 2:
        found = f"has {classes} in {len(part)} {problem.rows}"
        raise Refused(f"{what} {problem.rows} of two classes of {problem.target}, {found}")
