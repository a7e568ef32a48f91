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
Compare = Callable[[pd.Series, str], pd.Series]
MISSING = ["", "NA", "N/A", "#N/A", "NaN", "nan", "NULL", "null", "<NA>"]
SUFFIXES = (".csv", ".csv.gz", ".parquet", ".pq")


def read(problem: Problem, uri: str = "") -> pd.DataFrame:
    """Read the rows at `uri`, at the problem's own source, or its sample.

    Several files are read in the order of their names. Without a time, the column BATCH names the
    file of each row. Raises Refused if a file is missing or unreadable.
    """
    source = absolute(uri) or problem.uri
    if not source:
        sample = problem.function("sample")
        if sample is None:
            raise Refused(f"{problem.name} has no source: set {problem.setting_name}")
        return sample()
    try:
        with bucket.local_copies(source, SUFFIXES) as files:
            if not files:
                raise Refused(f"{source} contains no CSV or Parquet file")
            tables = [_table(problem, file) for file in files]
            _require_same_columns(files, tables)
    except Refused:
        raise
    except (OSError, ValueError) as error:
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
        na_values={name: MISSING for name in columns if name not in problem.text},
        # A comma at the end of each line would shift the columns.
        index_col=False,
        low_memory=False,
    )


def _require_same_columns(files: list[str], tables: list[pd.DataFrame]) -> None:
    # Otherwise the rows of a file with another separator would be lost, or a column be missing.
    for file, table in zip(files, tables, strict=True):
        if missing := [name for name in tables[0] if name not in table]:
            raise Refused(f"{Path(file).name} has no column {', '.join(map(str, missing))}")


def times(problem: Problem, rows: pd.DataFrame) -> pd.Series:
    """Return the time of each row, NaT if it is unreadable. Raises Refused without the column."""
    columns = [problem.time] if isinstance(problem.time, str) else list(problem.time)
    if missing := [name for name in columns if name not in rows]:
        raise Refused(f"bad table: no column {' and '.join(sorted(missing))}")
    if len(columns) == 1:
        return as_times(rows[columns[0]])
    numbers = rows[columns].apply(pd.to_numeric, errors="coerce")
    return pd.to_datetime(numbers, errors="coerce")


def as_times(column: pd.Series) -> pd.Series:
    """Return times in UTC without time zone. Numbers and unreadable values become NaT."""
    if pd.api.types.is_numeric_dtype(column):
        return pd.Series(pd.NaT, column.index)
    times = pd.to_datetime(column, errors="coerce", format="mixed", utc=True)
    return times.dt.tz_localize(None)


def periods(problem: Problem, rows: pd.DataFrame) -> pd.Series:
    """Return the period or batch of each row as text that sorts in time; missing if unknown."""
    if not problem.time:
        return rows.get(BATCH, pd.Series("sample", rows.index)).astype(object)
    time = times(problem, rows)
    starts = time.dt.to_period(FREQUENCIES[problem.period]).dt.start_time
    text = starts.dt.strftime("%Y-%m" if problem.period == "month" else "%Y-%m-%d")
    return text.where(time.notna(), None)


def up_to(problem: Problem, rows: pd.DataFrame, period: str) -> pd.DataFrame:
    """Return the rows up to the end of `period` ("2013-05"), or everything if it is blank.

    Rows are not checked yet: a row whose time is unreadable is kept, so that `check` names it.
    Raises Refused if there are no rows of the period.
    """
    return _choose(problem, rows, period, pd.Series.le) if period else rows


def of(problem: Problem, rows: pd.DataFrame, period: str) -> pd.DataFrame:
    """Return the rows of one period ("2013-05"), and rows whose time is unreadable."""
    return _choose(problem, rows, period, pd.Series.eq)


def _choose(problem: Problem, rows: pd.DataFrame, period: str, compare: Compare) -> pd.DataFrame:
    by_row = periods(problem, rows)
    if not (by_row == period).any():
        raise Refused(f"no {problem.rows} of {period} in this data set")
    return rows[compare(by_row.fillna(""), period) | by_row.isna()]


def check(problem: Problem, rows: pd.DataFrame) -> pd.DataFrame:
    """Return the columns of the schema in their types.

    Raises Refused if there is no row or a column is missing, or with the first invalid rows: their
    index (`read` counts from 0, the first row below the header), column, value and rule.
    """
    if rows.empty:
        raise Refused(f"no {problem.rows}: the data set is empty")
    if repeated := sorted({str(name) for name in rows.columns[rows.columns.duplicated()]}):
        raise Refused(f"bad table: repeated column {', '.join(repeated)}")
    if isinstance(problem.time, str):
        # Text with changing time zones cannot be converted by the schema.
        time = times(problem, rows)
        _require_all(time.notna(), "a readable time")
        rows = rows.assign(**{problem.time: time})
    try:
        checked = problem.schema().validate(rows, lazy=True)
    except pa.errors.SchemaErrors as error:
        raise Refused(reasons.of(error.failure_cases)) from None
    rules = problem.function("row_rules", dict)()
    if problem.time:
        rules = {"a readable time": lambda rows: times(problem, rows).notna()} | rules
    for rule, is_valid in rules.items():
        _require_all(is_valid(checked), rule)
    if not problem.time:
        checked = checked.assign(**{BATCH: periods(problem, rows)})
    return checked.reset_index(drop=True)


def _require_all(valid: pd.Series, rule: str) -> None:
    if not valid.all():
        raise Refused(reasons.of_rows(list(valid.index[~valid]), rule))


def labelled(problem: Problem, rows: pd.DataFrame) -> pd.DataFrame:
    """Return the rows whose target is known, with the target."""
    rows = problem.function("label", pd.DataFrame.copy)(rows)
    if not isinstance(rows, pd.DataFrame):
        raise Refused(f"label() must return rows, not {type(rows).__name__}")
    if problem.target not in rows:
        return rows.head(0).assign(**{problem.target: None})
    rows = rows.dropna(subset=[problem.target]).reset_index(drop=True)
    if rows[problem.target].dtype == object:
        rows = rows.assign(**{problem.target: as_class(rows[problem.target])})
    return rows


def as_class(column: pd.Series) -> pd.Series:
    """Return classes as text. In a column of numbers with gaps, the class 1 is read as 1.0."""
    return column.astype(str).str.removesuffix(".0")


def row_ids(problem: Problem, rows: pd.DataFrame) -> pd.Series:
    """Return a hash of each row's inputs."""
    inputs = rows[[name for name in problem.inputs if name in rows]]
    # Missing text is NaN in a CSV file, and None in a Parquet file.
    text = inputs.astype(str).where(inputs.notna(), "")
    return pd.util.hash_pandas_object(text, index=False).astype("int64")


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
