"""Find what commonly goes wrong with a new table: leakage, identifiers, constants, imbalance."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from sklearn.linear_model import LinearRegression
from sklearn.model_selection import cross_val_score
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

MAX_ROWS = 5000
# A column that alone predicts the target this well is probably known only after it.
LEAK_SCORE = 0.99
SUM_SCORE = 0.999
MANY_VALUES = 250
UNIQUE_SHARE = 0.95
FEW_ROWS = 500
RARE_SHARE = 0.05
MIN_COEFFICIENT = 1e-3


@dataclass(frozen=True)
class Suspicion:
    """Something to check. Columns that are `left_out` are no inputs of the problem."""

    columns: tuple[str, ...]
    reason: str
    left_out: bool = True

    def __str__(self) -> str:
        """Return one line for people."""
        names = ", ".join(self.columns)
        return f"{names}: {self.reason}" if names else self.reason


def find(facts: Any) -> list[Suspicion]:
    """Return the suspicions about a table. `facts` is a `describe.Facts`."""
    return [*_columns(facts), *_leaks(facts), *_target(facts)]


def _columns(facts: Any) -> Iterator[Suspicion]:
    for name in facts.candidates:
        column = facts.table[name].dropna()
        if column.nunique() <= 1:
            yield Suspicion((name,), "has the same value in all rows, or none")
        elif _is_identifier(column):
            yield Suspicion((name,), "has another value in each row, as an identifier")
        elif not _is_number(column) and column.nunique() > MANY_VALUES:
            yield Suspicion((name,), f"has {column.nunique():,} different values")
        elif column.map(type).nunique() > 1:
            yield Suspicion((name,), "mixes numbers and text; it is read as text", left_out=False)


def _is_identifier(column: pd.Series) -> bool:
    if pd.api.types.is_float_dtype(column) or pd.api.types.is_datetime64_any_dtype(column):
        return False
    return bool(column.nunique() >= UNIQUE_SHARE * len(column)) and len(column) > 20


def _is_number(column: pd.Series) -> bool:
    return bool(pd.api.types.is_numeric_dtype(column))


def _leaks(facts: Any) -> Iterator[Suspicion]:
    known = facts.table.dropna(subset=[facts.target])
    some = known.sample(min(MAX_ROWS, len(known)), random_state=0)
    target = some[facts.target]
    suspects = []
    for name in facts.candidates:
        if some[name].nunique() > 1 and _score(facts.kind, some[name], target) >= LEAK_SCORE:
            suspects.append(name)
            yield Suspicion((name,), f"alone predicts {facts.target}; is it known before?")
    if facts.kind == "regression":
        numbers = [n for n in facts.candidates if _is_number(some[n]) and n not in suspects]
        yield from _sums(some, numbers, target)


def _score(kind: str, column: pd.Series, target: pd.Series) -> float:
    """Return how well a tree of one column predicts, from 0 (as the baseline) to 1."""
    codes = column if _is_number(column) else pd.Series(pd.factorize(column)[0], column.index)
    values = codes.astype(float).fillna(-1e9).to_numpy().reshape(-1, 1)
    if kind == "regression":
        tree, scoring = DecisionTreeRegressor(min_samples_leaf=5), "r2"
    else:
        tree, scoring = DecisionTreeClassifier(min_samples_leaf=2), "balanced_accuracy"
        target = target.astype(str)
        if target.value_counts().min() < 3:
            return 0.0
    return float(np.mean(cross_val_score(tree, values, target, cv=3, scoring=scoring)))


def _sums(some: pd.DataFrame, numbers: list[str], target: pd.Series) -> Iterator[Suspicion]:
    """Find columns whose weighted sum is the target."""
    if not numbers:
        return
    values = some[numbers].astype(float).fillna(0)
    spread = values.std().replace(0, 1)
    line = LinearRegression().fit(values / spread, target)
    if line.score(values / spread, target) < SUM_SCORE:
        return
    weights = np.abs(line.coef_) / max(np.abs(line.coef_).max(), 1e-12)
    names = [n for n, weight in zip(numbers, weights, strict=True) if weight > MIN_COEFFICIENT]
    yield Suspicion(tuple(names), "together add up to the target; are they known before?")


def _target(facts: Any) -> Iterator[Suspicion]:
    rows = int(facts.table[facts.target].notna().sum())
    if rows < FEW_ROWS:
        yield Suspicion((), f"only {rows} rows have a target: scores will vary by chance", False)
    if facts.kind == "regression":
        return
    shares = facts.table[facts.target].value_counts(normalize=True)
    for value, share in shares[shares < RARE_SHARE].items():
        yield Suspicion((facts.target,), f"only {share:.1%} of the rows are {value}", False)
