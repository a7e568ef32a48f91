"""Write the description of a table as a module of `problems/`."""

import json
from collections.abc import Sequence
from datetime import UTC, datetime

import pandas as pd
import pandera.pandas as pa

from ml import Refused, data
from ml.facts import Facts
from ml.suspicions import Suspicion

TEXT = '''\
"""Predict {target}. Written by `inv adopt` on {today:%Y-%m-%d} from {rows:,} rows."""

from typing import Any

from ml.problem import Limits, Problem

PROBLEM = Problem(
    module=__name__,
    name={name},
    kind={kind},
    target={quoted},
    source={source},
{time}    # Keep only columns that are known when a prediction is needed.
    inputs=(
{inputs}    ),
    # Columns that change with the season are reported, and not counted as drift.
    limits=Limits(column=0.2, share=0.25, decay={decay}, seasonal=({seasonal})),
)


def schema() -> Any:
    """Return the columns of a valid row. Other columns are ignored."""
    import pandera.pandas as pa

    return pa.DataFrameSchema(
        {{
{columns}        }},
        coerce=True,
        strict="filter",
    )
'''


def module_text(name: str, source: str, facts: Facts, suspicions: Sequence[Suspicion]) -> str:
    """Return the module. Raises Refused if no column is left to predict from."""
    left_out = {column: one.reason for one in suspicions if one.left_out for column in one.columns}
    inputs = [column for column in facts.candidates if column not in left_out]
    time = [facts.time] if facts.time else []
    if not time + inputs:
        raise Refused("no column is left to predict from: " + "; ".join(map(str, suspicions)))
    lines = [f"{_quoted(column)}," for column in time + inputs]
    lines += [f"# {_quoted(column)}: {reason}" for column, reason in left_out.items()]
    columns = [f"{_quoted(column)}: {_column(facts, column)},"
               for column in [*time, *inputs, facts.target]]  # fmt: skip
    seasonal = [f"{facts.time}_month", f"{facts.time}_day"] if facts.time else []
    return TEXT.format(
        target=" ".join(facts.target.split()).replace('"', "'").replace("\\", "/"),
        today=datetime.now(UTC),
        rows=len(facts.table),
        name=_quoted(name),
        kind=_quoted(facts.kind),
        quoted=_quoted(facts.target),
        source=_quoted(source),
        time="".join(_line(4, line) for line in _time(facts)),
        inputs="".join(_line(8, line) for line in lines),
        decay=0.03 if facts.kind == "binary" else 0.1,
        seasonal=", ".join(map(_quoted, seasonal)),
        columns="".join(_line(12, line) for line in columns),
    )


def _quoted(text: str) -> str:
    """Return text as a literal with double quotes, as Python's formatters write it."""
    return json.dumps(text, ensure_ascii=False)


def _line(indent: int, text: str) -> str:
    waiver = "  # noqa: E501" if indent + len(text) > 100 else ""
    return f"{' ' * indent}{text}{waiver}\n"


def _time(facts: Facts) -> list[str]:
    """Return the fields about time. Data without rows of the last two periods has ended."""
    if not facts.time:
        return ["# Percentage of the rows that are held out: they have no time.", "holdout=20,"]
    newest = facts.table[facts.time].max().to_period(data.FREQUENCIES[facts.period])
    oldest = facts.table[facts.time].min().to_period(newest.freq)
    has_ended = oldest < newest < pd.Timestamp.now().to_period(newest.freq) - 2
    style = "%Y-%m" if facts.period == "month" else "%Y-%m-%d"
    first = ((oldest if has_ended else newest) + 1).start_time
    lines = [f"time={_quoted(facts.time)},", f'period="{facts.period}",']
    lines += ["# The first to be monitored on schedule.", f'first="{first:{style}}",']
    ended = "# The last one, because the data ends here. Remove this line when new rows arrive."
    return lines + ([ended, f'last="{newest.start_time:{style}}",'] if has_ended else [])


def _column(facts: Facts, name: str) -> str:
    """Return a column's schema, inferred by pandera; of its range, only `>= 0` is kept."""
    inferred = pa.infer_schema(facts.table[[name]]).columns[name]
    dtype = str(inferred.dtype)
    if dtype in ("object", "str", "string"):
        return 'pa.Column("str", nullable=True)'
    # A later file can lack values, which whole numbers and bool cannot represent.
    dtype = "float64" if dtype.startswith(("int", "uint", "bool")) else dtype
    is_positive = dtype == "float64" and facts.table[name].min() >= 0 and name != facts.target
    check = ", pa.Check.ge(0)" if is_positive else ""
    nullable = ", nullable=True" if name != facts.time or inferred.nullable else ""
    return f'pa.Column("{dtype}"{check}{nullable})'
