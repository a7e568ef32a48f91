"""Read the rows of a problem, refuse invalid ones, and choose those of a period."""

import hashlib
import os
import re
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pandera.pandas as pa

from ml import Refused, bucket, reasons
from ml.problem import Problem, absolute

BATCH = "_batch"
"""The column that names the file of a row, if rows have no time."""
FREQUENCIES = {"month": "M", "week": "W", "day": "D"}
SUFFIXES = (".csv", ".csv.gz", ".parquet", ".pq")


def read(problem: Problem, uri: str = "") -> pd.DataFrame:
    """Read the rows at `uri`, at the problem's own source, or its sample.

    Several files are read in the order of their names; without a time, the column BATCH names the
    file of each row. Raises Refused if a file is missing or unreadable.
    """
    source = absolute(uri) or problem.uri
    if not source:
        sample = problem.function("sample")
        if sample is None:
            raise Refused(f"{problem.name} has no source: set {problem.setting_name}")
        return sample()
    try:
        with bucket.fetched(source, SUFFIXES) as files:
            if not files:
                raise Refused(f"{source} contains no CSV or Parquet file")
            tables = [_table(problem, file) for file in files]
    except (OSError, ValueError) as error:
        if isinstance(error, Refused):
            raise
        raise Refused(f"cannot read {problem.rows} from {source}: {error}") from error
    if not problem.time:
        batches = zip(tables, files, strict=True)
        tables = [table.assign(**{BATCH: Path(file).name}) for table, file in batches]
    return pd.concat(tables, ignore_index=True) if len(tables) > 1 else tables[0]


def _table(problem: Problem, file: str) -> pd.DataFrame:
    if file.endswith((".parquet", ".pq")):
        return pd.read_parquet(file).reset_index(drop=True)
    columns = problem.schema().columns
    # Text such as 007 would be read as a number.
    text = [name for name, column in columns.items() if str(column.dtype) in ("str", "object")]
    return pd.read_csv(
        file,
        dtype=dict.fromkeys((*problem.text, *text), str),
        usecols=columns.__contains__,
        keep_default_na=False,
        na_values={name: ["", "NA", "NaN"] for name in columns if name not in problem.text},
        low_memory=False,
    )


def times(problem: Problem, rows: pd.DataFrame) -> pd.Series:
    """Return the time of each row, NaT if it cannot be read. Raises Refused without the column."""
    columns = problem.time_columns
    if missing := [name for name in columns if name not in rows]:
        raise Refused(f"bad table: no column {' and '.join(sorted(missing))}")
    if len(columns) == 1:
        return pd.to_datetime(rows[columns[0]], errors="coerce")
    numbers = rows[columns].apply(pd.to_numeric, errors="coerce")
    return pd.to_datetime(numbers, errors="coerce")


def periods(problem: Problem, rows: pd.DataFrame) -> pd.Series:
    """Return the period or batch of each row as text that sorts in time; missing if unknown."""
    if not problem.time:
        return rows[BATCH].astype(object)
    found = times(problem, rows)
    starts = found.dt.to_period(FREQUENCIES[problem.period]).dt.start_time
    text = starts.dt.strftime("%Y-%m" if problem.period == "month" else "%Y-%m-%d")
    return text.where(found.notna(), None)


def up_to(problem: Problem, rows: pd.DataFrame, period: str) -> pd.DataFrame:
    """Return what is known at the end of `period` ("2013-05"), or everything if it is blank.

    Rows are not checked yet: a row whose time is unreadable is kept, so that `check` names it.
    Raises Refused if there are no rows of the period.
    """
    return _chosen(problem, rows, period, pd.Series.le) if period else rows


def of(problem: Problem, rows: pd.DataFrame, period: str) -> pd.DataFrame:
    """Return the rows of one period ("2013-05"), and as `up_to` the unreadable ones."""
    return _chosen(problem, rows, period, pd.Series.eq)


def _chosen(
    problem: Problem,
    rows: pd.DataFrame,
    period: str,
    compare: Callable[[pd.Series, str], pd.Series],
) -> pd.DataFrame:
    found = periods(problem, rows)
    known = found.notna()
    if not (found == period).any():
        raise Refused(f"no {problem.rows} of {period} in this data set")
    return rows[compare(found.where(known, ""), period) | ~known]


def check(problem: Problem, rows: pd.DataFrame) -> pd.DataFrame:
    """Return the columns of the schema in their types.

    Raises Refused if there is no row or a column is missing, or with the first invalid rows: their
    index (`read` counts from 0, the first row below the header), column, value and rule.
    """
    if rows.empty:
        raise Refused(f"no {problem.rows}: the data set is empty")
    if twice := sorted({str(name) for name in rows.columns[rows.columns.duplicated()]}):
        raise Refused(f"bad table: repeated column {', '.join(twice)}")
    try:
        checked = problem.schema().validate(rows, lazy=True)
    except pa.errors.SchemaErrors as error:
        raise Refused(reasons.of(error.failure_cases)) from None
    rules = problem.function("row_rules", dict)()
    if problem.time:
        rules = {"a readable time": lambda rows: times(problem, rows).notna()} | rules
    for rule, is_valid in rules.items():
        if not (valid := is_valid(checked)).all():
            raise Refused(reasons.of_rows(list(checked.index[~valid]), rule))
    if BATCH in rows:
        checked = checked.assign(**{BATCH: rows[BATCH]})
    finish = problem.function("finish")
    checked = checked.reset_index(drop=True)
    return finish(checked) if finish else checked


def labelled(problem: Problem, rows: pd.DataFrame) -> pd.DataFrame:
    """Return the rows whose target is known, with the target."""
    label = problem.function("label")
    rows = label(rows) if label else rows
    if problem.target not in rows:
        return rows.head(0).assign(**{problem.target: None})
    rows = rows.dropna(subset=[problem.target]).reset_index(drop=True)
    if rows[problem.target].dtype == object:
        # A column of numbers with gaps is read as floats: the class 1 is also 1.0.
        text = rows[problem.target].astype(str).str.removesuffix(".0")
        rows = rows.assign(**{problem.target: text})
    return rows


def last_period(problem: Problem, rows: pd.DataFrame) -> str:
    """Return the newest period or batch, such as "2013-12"."""
    return str(periods(problem, rows).dropna().max())


def fingerprint(rows: pd.DataFrame) -> str:
    """Return the SHA-256 of the rows in their order, independent of the file format."""
    return hashlib.sha256(pd.util.hash_pandas_object(rows, index=False).to_numpy()).hexdigest()


def run_folder(dag_id: str, run_id: str) -> Path:
    """Return the folder of a run below `DATA_DIR`, which the caller creates and removes."""
    # Airflow accepts the run id "..", and this folder is removed with all its files.
    name = re.sub(r"[^A-Za-z0-9_-]", "_", run_id)
    return Path(os.environ.get("DATA_DIR") or "/opt/airflow/data", dag_id, name)


def save(table: pd.DataFrame, path: Path) -> str:
    """Write a table as Parquet, creating the folder, and return the path as text for XCom."""
    path.parent.mkdir(parents=True, exist_ok=True)
    table.to_parquet(path, index=False)
    return str(path)


def load(path: str) -> pd.DataFrame:
    """Read a table that `save` wrote."""
    return pd.read_parquet(path)
