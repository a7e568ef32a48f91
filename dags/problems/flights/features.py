"""Features of a flight: only what is known before departure.

Each model contains a copy of this file (see `ml.carried`), so that a champion keeps the features it
was trained with. Therefore it imports nothing of this project.
"""

import pandas as pd

CATEGORIES = ["carrier", "origin", "dest"]
WEATHER = ["temp", "humid", "wind_speed", "precip", "pressure", "visib"]
NUMBERS = ["weekday", "departure_minute", "arrival_minute", "distance", *WEATHER]


def make(flights: pd.DataFrame) -> pd.DataFrame:
    """Return the features of each flight; absent weather is missing (NaN).

    Times are minutes since midnight, local. Each row depends on itself only, so one future flight
    can be scored without the other flights of its day.
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
