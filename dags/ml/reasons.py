"""Explain in one line why rows are refused."""

from typing import Any

import pandas as pd

ROWS_NAMED = 5


def of(cases: pd.DataFrame) -> str:
    """Return the line for pandera's `failure_cases`: the first rows with column, value and rule."""
    cases = _unique(cases.astype({"column": object, "failure_case": object}))
    rows = cases["index"].dropna().nunique()
    named = "; ".join(map(_reason, cases.head(ROWS_NAMED).to_dict("records")))
    more = f"; and {len(cases) - ROWS_NAMED} more" if len(cases) > ROWS_NAMED else ""
    return (f"bad rows: {rows}: " if rows else "bad table: ") + named + more


def of_rows(rows: list[int], rule: str) -> str:
    """Return the line for rows that break a rule as a whole."""
    named = ", ".join(map(str, rows[:ROWS_NAMED]))
    more = f" and {len(rows) - ROWS_NAMED} more" if len(rows) > ROWS_NAMED else ""
    return f"bad rows: {len(rows)}: row {named}{more} (not {rule})"


def _unique(cases: pd.DataFrame) -> pd.DataFrame:
    # A column that cannot be read as its type breaks its other rules too, in Python's words.
    typed = cases["check"].astype(str).str.startswith("coerce_dtype")
    cases = cases[typed | ~cases["column"].isin(cases.loc[typed, "column"])]
    cases = cases.drop_duplicates(["index", "column", "check"])
    return cases.sort_values("index", kind="stable", na_position="first")


def _reason(case: dict[str, Any]) -> str:
    rule, value = str(case["check"]), case["failure_case"]
    if rule.startswith("coerce_dtype"):
        rule = "not a time" if "datetime" in rule else "not a number"
    if pd.isna(case["index"]):
        return f"{value} ({rule})"
    value = int(value) if isinstance(value, float) and value.is_integer() else value
    return f"row {case['index']:.0f}: {case['column']}={value} ({rule})"
