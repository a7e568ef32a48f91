import numpy as np
import pandas as pd
from ml import features


def test_late_means_more_than_fifteen_minutes(flights: pd.DataFrame) -> None:
    few = flights.head(4).assign(arr_delay=[15.0, 16.0, -5.0, np.nan])
    assert features.make(few)[features.TARGET].tolist() == [False, True, False]


def test_flights_without_arrival_are_dropped(flights: pd.DataFrame, table: pd.DataFrame) -> None:
    assert len(table) == flights["arr_delay"].notna().sum() < len(flights)
    assert table.notna().all(axis=None)


def test_nothing_of_the_flight_itself_leaks(flights: pd.DataFrame) -> None:
    known = features.make(flights.assign(arr_delay=0.0))[features.FEATURES]
    flown = flights.assign(
        arr_delay=500.0, dep_time=900.0, dep_delay=99.0, arr_time=1200.0, air_time=90.0
    )
    pd.testing.assert_frame_equal(features.make(flown)[features.FEATURES], known)


def test_a_row_depends_on_itself_alone(flights: pd.DataFrame, table: pd.DataFrame) -> None:
    one = flights.dropna(subset=["arr_delay"]).iloc[[50]]
    assert features.make(one).iloc[0].equals(table.iloc[50])


def test_clock_and_weekday(flights: pd.DataFrame) -> None:
    new_year = flights.head(1).assign(sched_dep_time=1359, sched_arr_time=2400, day=1, month=1)
    row = features.make(new_year).iloc[0]
    assert (row["weekday"], row["departure_minute"], row["arrival_minute"]) == (1, 839, 1440)
