"""Infer the description of a table, and write it as a module of `problems/`."""

import keyword
import re
from dataclasses import dataclass
from datetime import UTC, datetime

import pandas as pd
import pandera.pandas as pa

from ml import Refused
from ml.suspicions import Suspicion

NAME = re.compile("[a-z][a-z0-9-]{0,49}")
MAX_CLASSES = 50
MAX_COLUMNS = 400
MIN_ROWS = 50
# Days of data from which periods of this length are compared.
MONTHLY_FROM, WEEKLY_FROM = 120, 28
UNREADABLE_SHARE = 0.01
EARLIEST = pd.Timestamp("1900-01-01")


@dataclass(frozen=True)
class Facts:
    """What is known of a table: its columns in their types, and how it will be used."""

    table: pd.DataFrame
    target: str
    time: str
    kind: str
    period: str

    @property
    def candidates(self) -> list[str]:
        """The columns that can be inputs."""
        return [name for name in self.table if name not in (self.target, self.time)]


def identifier(name: str) -> str:
    """Return the name of the module of a problem."""
    return name.replace("-", "_")


def facts(table: pd.DataFrame, target: str, time: str, kind: str) -> Facts:
    """Return the facts of a table. Raises Refused if it cannot become a problem."""
    _require_columns(table, target, time)
    if len(table) < MIN_ROWS:
        raise Refused(f"the table has {len(table)} rows; at least {MIN_ROWS} are needed")
    typed = table.copy()
    if time:
        typed[time] = _times(table, time)
    for name in typed.columns.difference([target, time]):
        typed[name] = _typed(typed[name])
    kind = kind or _kind(typed[target])
    typed[target] = _target(typed[target], target, kind)
    return Facts(typed, target, time, kind, _period(typed[time]) if time else "")


def _require_columns(table: pd.DataFrame, target: str, time: str) -> None:
    names = ", ".join(map(str, table.columns[:20]))
    for name in filter(None, (target, time)):
        if name not in table:
            raise Refused(f"there is no column {name}; the first columns are: {names}")
    if twice := sorted({str(n) for n in table.columns[table.columns.duplicated()]}):
        raise Refused(f"repeated column: {', '.join(twice)}")
    if len(table.columns) > MAX_COLUMNS:
        raise Refused(
            f"{len(table.columns)} columns are too many (limit {MAX_COLUMNS}): keep those that "
            "are known when a prediction is needed"
        )
    if table.empty:
        raise Refused("the table has no rows")


def _times(table: pd.DataFrame, name: str) -> pd.Series:
    times = pd.to_datetime(table[name], errors="coerce", format="mixed")
    if getattr(times.dt, "tz", None):
        times = times.dt.tz_convert("UTC").dt.tz_localize(None)
    unreadable = times.isna()
    if unreadable.mean() > UNREADABLE_SHARE or times.max() < EARLIEST:
        example = table[name][unreadable].head(1).tolist()
        raise Refused(f"{unreadable.sum()} values of {name} are no time, such as {example}")
    if (late := times > pd.Timestamp.now() + pd.Timedelta(days=1)).any():
        raise Refused(
            f"{late.sum()} rows have a {name} in the future, such as {times[late].iloc[0]}"
        )
    return times


def _typed(column: pd.Series) -> pd.Series:
    """Return text that contains dates as dates, and other objects as text."""
    if pd.api.types.is_numeric_dtype(column) or pd.api.types.is_datetime64_any_dtype(column):
        return column
    text = column.dropna()
    if (
        len(text)
        and text.map(type).eq(str).all()
        and text.head(100).str.contains(r"\d{4}-\d{2}").all()
    ):
        dates = pd.to_datetime(column, errors="coerce")
        if dates.notna().sum() == len(text):
            return dates.dt.tz_localize(None) if getattr(dates.dt, "tz", None) else dates
    return column.where(column.isna(), column.astype(str))


def _kind(target: pd.Series) -> str:
    values = target.dropna().nunique()
    is_number = pd.api.types.is_numeric_dtype(target) and not pd.api.types.is_bool_dtype(target)
    if values == 2:
        return "binary"
    return "regression" if is_number and values > 15 else "multiclass"


def _target(target: pd.Series, name: str, kind: str) -> pd.Series:
    known = target.dropna()
    if known.empty:
        raise Refused(f"{name} has no value in any row")
    if kind == "regression":
        numbers = pd.to_numeric(target, errors="coerce")
        if wrong := int((numbers.isna() & target.notna()).sum()):
            example = target[numbers.isna() & target.notna()].iloc[0]
            raise Refused(f"{wrong} values of {name} are not numbers, such as {example!r}")
        return numbers.astype(float)
    classes = known.nunique()
    if classes < 2:
        raise Refused(f"{name} has only one value: {known.iloc[0]!r}")
    if kind == "binary" and classes != 2:
        raise Refused(f"{name} has {classes} values, so it is not binary")
    if classes > MAX_CLASSES:
        raise Refused(
            f"{name} has {classes} classes (limit {MAX_CLASSES}): is it a number to predict?"
        )
    return target.where(target.isna(), target.astype(str).str.removesuffix(".0")).astype(object)


def _period(times: pd.Series) -> str:
    days = (times.max() - times.min()).days
    return "month" if days >= MONTHLY_FROM else "week" if days >= WEEKLY_FROM else "day"


def module_text(name: str, source: str, facts: Facts, suspicions: list[Suspicion]) -> str:
    """Return the module that describes the table."""
    left_out = {c: one.reason for one in suspicions if one.left_out for c in one.columns}
    inputs = [one for one in facts.candidates if one not in left_out]
    inputs = [facts.time, *inputs] if facts.time else inputs
    if not inputs:
        raise Refused("no column is left to predict from: see the warnings")
    loss = 0.03 if facts.kind == "binary" else 0.1
    today = f"{datetime.now(UTC):%Y-%m-%d}"
    lines = [
        f'"""Predict {facts.target}. Written by `inv adopt` on {today} from '
        f'{len(facts.table):,} rows."""',
        "",
        "from typing import Any",
        "",
        "from ml.problem import Limits, Problem",
        "",
        "PROBLEM = Problem(",
        "    module=__name__,",
        f"    name={name!r},",
        f"    kind={facts.kind!r},",
        f"    target={facts.target!r},",
        f"    source={source!r},",
        *([f"    time={facts.time!r},", f"    period={facts.period!r},"] if facts.time else []),
        *([] if facts.time else ["    # Percent of the rows, because they have no time.",
                                 "    holdout=20,"]),
        "    # Keep only columns that are known when a prediction is needed.",
        "    inputs=(",
        *(f"        {one!r}," for one in inputs),
        *(f"        # {one!r}: {reason}" for one, reason in left_out.items()),
        "    ),",
        "    # Columns that change with the season are reported, and not counted as drift.",
        f"    limits=Limits(column=0.2, share=0.25, loss={loss}, seasonal={_seasonal(facts)!r}),",
        ")",
        "",
        "",
        "def schema() -> Any:",
        '    """Return the columns of a valid row. Other columns are ignored."""',
        "    import pandera.pandas as pa",
        "",
        "    return pa.DataFrameSchema(",
        "        {",
        *(f"            {one!r}: {_column(facts, one)}," for one in [*inputs, facts.target]),
        "        },",
        "        coerce=True,",
        '        strict="filter",',
        "    )",
        "",
    ]  # fmt: skip
    return "\n".join(lines)


def _seasonal(facts: Facts) -> tuple[str, ...]:
    return (f"{facts.time}_month", f"{facts.time}_day") if facts.time else ()


def _column(facts: Facts, name: str) -> str:
    """Return the schema of a column, inferred by pandera, without the range of this sample."""
    inferred = pa.infer_schema(facts.table[[name]]).columns[name]
    dtype = str(inferred.dtype)
    dtype = "str" if dtype in ("object", "str", "string") else dtype
    is_missing = inferred.nullable or name == facts.target
    if dtype.startswith(("int", "uint", "bool")):
        # A later file can lack values, which these types cannot represent.
        dtype = "float64"
    nullable = ", nullable=True" if is_missing or name in facts.candidates else ""
    checks = ""
    is_positive = dtype == "float64" and facts.table[name].min() >= 0
    if is_positive and name != facts.target:
        checks = ", pa.Check.ge(0)"
    return f"pa.Column({dtype!r}{checks}{nullable})"


def dags_text(name: str) -> str:
    """Return the DAG file of a problem."""
    module = identifier(name)
    return (
        f'"""The DAGs of {name}: Airflow finds training, monitoring and scoring here."""\n'
        "\n"
        "import pipelines\n"
        f"from problems.{module} import PROBLEM\n"
        "\n"
        "pipelines.create(PROBLEM)\n"
    )


def require_name(name: str) -> None:
    """Raise Refused if a name cannot be that of a problem, a module and a model."""
    if not NAME.fullmatch(name) or keyword.iskeyword(identifier(name)):
        raise Refused(f"{name!r} is not a name: use lower-case letters, digits and hyphens")
