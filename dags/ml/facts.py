"""Infer what a new table contains: types of columns, kind of the target, and periods."""

import datetime
import decimal
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from pandas.api import types

from ml import Refused, data
from ml.features import HUGE

MAX_CLASSES, MAX_COLUMNS, MIN_ROWS = 50, 400, 50
# A number with more values than this is a quantity to predict, not a class.
MAX_NUMERIC_CLASSES = 15
# Minimum days of data for monthly and weekly periods.
MONTHLY_FROM, WEEKLY_FROM = 120, 28
UNREADABLE_SHARE = 0.01
# Types of single values that text can stand for.
SIMPLE = (str, int, float, bool, decimal.Decimal, datetime.date, datetime.datetime)
EARLIEST = pd.Timestamp("1900-01-01")


@dataclass(frozen=True)
class Facts:
    """Properties of a table: its columns in their types, and how it will be used.

    `unusable` has the types of columns that cannot be inputs, by name.
    """

    table: pd.DataFrame
    target: str
    time: str
    kind: str
    period: str
    unusable: Mapping[str, str]

    @property
    def candidates(self) -> list[str]:
        """The columns that can be inputs."""
        others = (self.target, self.time, *self.unusable)
        return [name for name in self.table if name not in others]


def of(table: pd.DataFrame, target: str, time: str, kind: str) -> Facts:
    """Return the facts of a table. Raises Refused if it cannot become a problem."""
    for name in filter(None, (target, time)):
        if name not in table:
            columns = ", ".join(map(repr, table.columns[:20]))
            raise Refused(f"there is no column {name!r}; the first columns are: {columns}")
    size, width = len(table), len(table.columns)
    wrong = {
        f"{target} cannot be both the target and the time": target == time,
        f"the table has {size} rows; at least {MIN_ROWS} are needed": size < MIN_ROWS,
        f"{width} columns are too many (limit {MAX_COLUMNS}): keep those that are known when a "
        "prediction is needed": width > MAX_COLUMNS,
    }
    for reason in filter(wrong.get, wrong):
        raise Refused(reason)
    typed, unusable = table.copy(), {}
    for name in table:
        column = _typed(table[name]) if name != time else _times(table[name])
        if column is None:
            unusable[str(name)] = type(table[name].dropna().iloc[0]).__name__
        else:
            typed[name] = column
    kind = kind or _kind(typed[target])
    typed[target] = target_of(typed[target], kind)
    period = _period(typed[time]) if time else ""
    return Facts(typed, target, time, kind, period, unusable)


def _times(column: pd.Series) -> pd.Series:
    known = column.dropna()
    text = known[known.map(type).eq(str)].astype(str)
    odd = known if types.is_numeric_dtype(column) else text[~text.str.match(r"\d{4}[-/.]\d{1,2}")]
    times = data.as_times(column)
    unreadable = column[times.isna()] if odd.empty else odd
    if len(unreadable) > UNREADABLE_SHARE * len(column) or times.max() < EARLIEST:
        example = f", such as {str(unreadable.iloc[0])!r}" if len(unreadable) else ""
        raise Refused(
            f"{len(unreadable)} values of {column.name} are missing or not times{example}: "
            "write times as 2024-01-31 or 2024-01-31 18:00"
        )
    if (late := times > pd.Timestamp.now() + pd.Timedelta(days=1)).any():
        raise Refused(
            f"{late.sum()} rows have a {column.name} in the future, such as {times[late].iloc[0]}"
        )
    return times


def _typed(column: pd.Series) -> pd.Series | None:
    """Return a column as numbers, dates or text, or None if it contains something else."""
    if isinstance(column.dtype, pd.CategoricalDtype):
        column = column.astype(column.cat.categories.dtype)
    if types.is_bool_dtype(column):
        return column.astype(object).where(column.notna(), None).astype(str).where(column.notna())
    if types.is_numeric_dtype(column):
        is_whole = isinstance(column.dtype, np.dtype) and column.dtype.kind in "iu"
        numbers = column if is_whole else column.astype("Float64").astype(float)
        return numbers if is_whole else numbers.where(numbers.abs() < HUGE)
    if types.is_datetime64_any_dtype(column):
        return data.as_times(column)
    known = column.dropna()
    if types.is_timedelta64_dtype(column) or not known.map(type).isin(SIMPLE).all():
        return None
    text = known.astype(str)
    is_date = len(text) and text.str.match(r"\d{4}-\d{2}-\d{2}(?!.*[+Z])").all()
    if is_date and pd.to_datetime(text, errors="coerce").notna().all():
        return pd.to_datetime(column)
    return column.where(column.isna(), column.astype(str))


def _kind(target: pd.Series) -> str:
    values = target.dropna().nunique()
    if values == 2:
        return "binary"
    is_quantity = types.is_numeric_dtype(target) and values > MAX_NUMERIC_CLASSES
    return "regression" if is_quantity else "multiclass"


def target_of(target: pd.Series, kind: str) -> pd.Series:
    """Return a target as numbers or classes. Raises Refused if the kind of problem has others."""
    name, known = target.name, target.dropna()
    if known.empty:
        raise Refused(f"{name} has no value in any row")
    classes = known.nunique()
    if classes < 2:
        raise Refused(f"{name} has only one value: {known.iloc[0]}")
    if kind == "regression":
        numbers = pd.to_numeric(target.astype(object), errors="coerce").astype(float)
        unreadable = target[~(numbers.abs() < HUGE) & target.notna()]
        if len(unreadable):
            example = f"such as {str(unreadable.iloc[0])!r}"
            raise Refused(f"{len(unreadable)} values of {name} are not numbers, {example}")
        return numbers
    if kind == "binary" and classes != 2:
        raise Refused(f"{name} has {classes} values, so it is not binary")
    if classes > MAX_CLASSES:
        raise Refused(
            f"{name} has {classes} classes (limit {MAX_CLASSES}); for numbers: --kind regression"
        )
    return data.as_class(target).where(target.notna())


def _period(times: pd.Series) -> str:
    days = (times.max() - times.min()).days
    return "month" if days >= MONTHLY_FROM else "week" if days >= WEEKLY_FROM else "day"
