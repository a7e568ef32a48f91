"""From flights to what a model may see: only what is known before departure."""

import pandas as pd

LATE_AFTER_MINUTES = 15
TARGET = "late"
CATEGORIES = ["carrier", "origin", "dest"]
NUMBERS = ["weekday", "departure_minute", "arrival_minute", "distance"]
FEATURES = CATEGORIES + NUMBERS


def make(flights: pd.DataFrame) -> pd.DataFrame:
    """Return date, FEATURES and TARGET for every flight that arrived.

    Cancelled and diverted flights have no arrival delay, so nothing to learn, and are dropped.
    Times are minutes since midnight, local. Each row depends on itself alone, so one future
    flight can be scored without the rest of its day.
    """
    arrived = flights.dropna(subset=["arr_delay"])
    date = pd.to_datetime(arrived[["year", "month", "day"]])
    return pd.DataFrame(
        {
            "date": date,
            **{name: arrived[name].astype(str) for name in CATEGORIES},
            "weekday": date.dt.weekday,
            "departure_minute": _minutes(arrived["sched_dep_time"]),
            "arrival_minute": _minutes(arrived["sched_arr_time"]),
            "distance": arrived["distance"],
            TARGET: arrived["arr_delay"] > LATE_AFTER_MINUTES,
        }
    ).reset_index(drop=True)


def _minutes(hhmm: pd.Series) -> pd.Series:
    return hhmm // 100 * 60 + hhmm % 100
