"""From raw flights to what a model sees: only what is known before departure.

Each model carries a copy of this file (see `carried`), so that a champion keeps
the features it was trained with when this file changes. So it imports nothing of this project.
"""

import pandas as pd

CATEGORIES = ["carrier", "origin", "dest"]
WEATHER = ["temp", "humid", "wind_speed", "precip", "pressure", "visib"]
NUMBERS = ["weekday", "departure_minute", "arrival_minute", "distance", *WEATHER]
FEATURES = CATEGORIES + NUMBERS
INPUTS = [
    *("year", "month", "day", "sched_dep_time", "sched_arr_time"),
    *CATEGORIES,
    *("distance", *WEATHER),
]
"""The raw columns that `make` reads; those of WEATHER may be absent."""


def make(flights: pd.DataFrame) -> pd.DataFrame:
    """Return FEATURES for every flight, in order; absent weather is missing (NaN).

    Times are minutes since midnight, local. Each row depends on itself alone, so one future
    flight can be scored without the rest of its day.
    """
    date = pd.to_datetime(flights[["year", "month", "day"]])
    table = {
        **{name: flights[name].astype(str) for name in CATEGORIES},
        "weekday": date.dt.weekday,
        "departure_minute": _minutes(flights["sched_dep_time"]),
        "arrival_minute": _minutes(flights["sched_arr_time"]),
        "distance": flights["distance"],
        **flights.reindex(columns=WEATHER),
    }
    return pd.DataFrame(table).astype(dict.fromkeys(NUMBERS, float))


def _minutes(hhmm: pd.Series) -> pd.Series:
    return hhmm // 100 * 60 + hhmm % 100
