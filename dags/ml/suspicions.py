"""Find what commonly goes wrong with a new table: leakage, identifiers, constants, imbalance."""

import re
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd
from pandas.api.types import is_datetime64_any_dtype, is_numeric_dtype
from sklearn.linear_model import LinearRegression
from sklearn.model_selection import cross_val_score
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

from ml.facts import Facts
from ml.features import PARTS

MAX_ROWS = 5000
# A column that alone predicts the target this well is probably known only after it.
LEAK_SCORE, SUM_SCORE, MIN_COEFFICIENT = 0.99, 0.999, 1e-3
MANY_VALUES, UNIQUE_SHARE = 250, 0.95
FEW_ROWS, RARE_SHARE, FOLDS = 500, 0.05, 3
# Columns that predictions or the pipelines add, see `ml.scoring` and `ml.data`.
RESERVED = re.compile("prediction|probability_|model_(version|run)$|scored_at$|_(row|batch)$")
# A number with separators, a unit or a currency.
NUMBER = r"[€$£+-]?\s?\d[\d.,' ]*\s?[%€$£]?"
MANY_NUMBERS, FEW_VALUES = 0.9, 20


@dataclass(frozen=True)
class Suspicion:
    """Something to check. Columns that are `left_out` are no inputs of the problem."""

    columns: tuple[str, ...]
    reason: str
    left_out: bool = True

    def __str__(self) -> str:
        """Return one line for people."""
        return ": ".join(filter(None, (", ".join(self.columns), self.reason)))


def find(facts: Facts) -> list[Suspicion]:
    """Return the suspicions about a table."""
    return [*_columns(facts), *_leaks(facts), *_target(facts)]


def _columns(facts: Facts) -> Iterator[Suspicion]:
    for name, dtype in facts.unusable.items():
        yield Suspicion((name,), f"contains values of the type {dtype}, which models cannot use")
    parts = {f"{name}_{part}" for name in facts.table.columns for part in PARTS}
    for name in facts.candidates:
        is_used = RESERVED.match(name) or name in parts
        reason = "has a name that the pipelines use; rename it" if is_used else ""
        if reason := reason or _useless(facts.table[name].dropna()):
            yield Suspicion((name,), reason)
        elif share := _share_of_numbers(facts.table[name].dropna()):
            reason = f"mixes text and numbers ({share:.0%}); it is read as text"
            yield Suspicion((name,), reason, left_out=False)


def _useless(column: pd.Series) -> str:
    """Return why a column should be no input, or a blank."""
    values, is_date = column.nunique(), is_datetime64_any_dtype(column)
    if values <= 1:
        return "has the same value in all rows, or none"
    has_fractions = is_numeric_dtype(column) and (column % 1 != 0).any()
    if is_numeric_dtype(column) or is_date:
        is_identifier = values >= UNIQUE_SHARE * len(column) and not (has_fractions or is_date)
        return (
            "has a different value in nearly every row, like an identifier" if is_identifier else ""
        )
    column = column.astype(str)
    if column.str.fullmatch(NUMBER).mean() > MANY_NUMBERS and values > FEW_VALUES:
        return f"contains numbers as text, such as {column.iloc[0]!r}; convert them"
    if values >= UNIQUE_SHARE * len(column):
        return "has a different value in nearly every row, like an identifier"
    return f"has {values:,} different values" if values > MANY_VALUES else ""


def _share_of_numbers(column: pd.Series) -> float:
    """Return the share of text that is a number, or 0 if all of it or none is."""
    if is_numeric_dtype(column) or is_datetime64_any_dtype(column):
        return 0.0
    share = float(pd.to_numeric(column.astype(str), errors="coerce").notna().mean())
    return share if share < 1 else 0.0


def _leaks(facts: Facts) -> Iterator[Suspicion]:
    known = facts.table.dropna(subset=[facts.target])
    sample = known.sample(min(MAX_ROWS, len(known)), random_state=0)
    target, suspects = sample[facts.target], []
    for name in facts.candidates:
        if sample[name].nunique() > 1 and _score(facts.kind, sample[name], target) >= LEAK_SCORE:
            suspects.append(name)
            yield Suspicion((name,), f"alone predicts {facts.target}; is it known when predicting?")
    if facts.kind == "regression":
        others = sample[facts.candidates].drop(columns=suspects)
        yield from _sums(others.select_dtypes("number").astype(float).fillna(0), target)


def _score(kind: str, column: pd.Series, target: pd.Series) -> float:
    """Return how well a tree of one column predicts, from 0 (as the baseline) to 1."""
    # Ranks, because trees cannot split very large numbers.
    codes = column.rank() if is_numeric_dtype(column) else pd.Series(pd.factorize(column)[0])
    values = codes.astype(float).fillna(-1).to_numpy().reshape(-1, 1)
    if kind == "regression":
        tree, scoring = DecisionTreeRegressor(min_samples_leaf=5), "r2"
    elif target.value_counts().min() < FOLDS:
        return 0.0
    else:
        tree, scoring = DecisionTreeClassifier(min_samples_leaf=2), "balanced_accuracy"
    return float(np.mean(cross_val_score(tree, values, target, cv=FOLDS, scoring=scoring)))


def _sums(numbers: pd.DataFrame, target: pd.Series) -> Iterator[Suspicion]:
    """Find columns whose weighted sum is the target."""
    scaled = numbers / numbers.std().replace(0, 1)
    if scaled.empty:
        return
    line = LinearRegression().fit(scaled, target)
    if line.score(scaled, target) >= SUM_SCORE:
        weights = np.abs(line.coef_) / max(np.abs(line.coef_).max(), 1e-12)
        columns = tuple(numbers.columns[weights > MIN_COEFFICIENT])
        yield Suspicion(columns, "together add up to the target; are they known when predicting?")


def _target(facts: Facts) -> Iterator[Suspicion]:
    target = facts.table[facts.target].dropna()
    if len(target) < FEW_ROWS:
        reason = f"only {len(target)} rows have a target: scores will vary by chance"
        yield Suspicion((), reason, left_out=False)
    shares = target.value_counts(normalize=True) if facts.kind != "regression" else pd.Series()
    if rare := [f"{name} ({share:.1%})" for name, share in shares.items() if share < RARE_SHARE]:
        yield Suspicion((facts.target,), f"has rare classes: {', '.join(rare)}", left_out=False)
