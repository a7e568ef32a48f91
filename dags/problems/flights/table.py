"""The table of flights: columns, ranges, rules and the label."""

from collections.abc import Callable, Mapping

import pandas as pd
import pandera.pandas as pa

LATE_AFTER_MINUTES = 15
DAY = ["year", "month", "day"]
FLIGHT = [*DAY, "carrier", "flight", "origin", "dest"]
WHOLE_NUMBERS = [*DAY, "sched_dep_time", "sched_arr_time", "flight", "distance"]


def _clock() -> pa.Check:
    return pa.Check(
        lambda hhmm: hhmm.between(0, 2400) & (hhmm % 100 < 60), error="a time of day as HHMM"
    )


def _whole(check: pa.Check) -> pa.Column:
    # Checked as a float, because a conversion to int would silently turn 100.7 into 100.
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
        # Minutes, negative if early, missing if cancelled or diverted; at most two days late.
        "arr_delay": pa.Column(float, pa.Check.in_range(-180, 2880), nullable=True),
        "carrier": pa.Column(str, pa.Check.str_matches(r"^[A-Z0-9]{2,3}$")),
        "flight": _whole(pa.Check.in_range(1, 9999)),
        "origin": pa.Column(str, pa.Check.str_matches(r"^[A-Z]{3}$")),
        "dest": pa.Column(str, pa.Check.str_matches(r"^[A-Z]{3}$")),
        # Miles. No scheduled flight is longer than 10,000.
        "distance": _whole(pa.Check.in_range(1, 10_000)),
        # Observed at the origin an hour before: °F, %, mph, inches, millibars, and miles as in
        # METAR reports (10 means 10 or more).
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

# Not in SCHEMA: pandera reports an invalid row once for each column, which takes minutes if all
# rows are invalid.
ROW_RULES: Mapping[str, Callable[[pd.DataFrame], pd.Series]] = {
    "a flight listed once": lambda flights: ~flights.duplicated(FLIGHT),
}


def label(flights: pd.DataFrame) -> pd.DataFrame:
    """Return the flights that arrived, with `late`.

    Cancelled and diverted flights have no arrival delay and are dropped.
    """
    arrived = flights.dropna(subset=["arr_delay"]).reset_index(drop=True)
    return arrived.assign(late=arrived["arr_delay"] > LATE_AFTER_MINUTES)
