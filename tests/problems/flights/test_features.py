"""Test the features of flights, and the copy of their source that a model contains."""

import importlib
from hashlib import sha256
from pathlib import Path

import pandas as pd
import pytest
from ml import carried, data
from problems.flights import PROBLEM as FLIGHTS
from problems.flights import features
from problems.flights.features import WEATHER

from tests.problems.flights.calls import FEATURES, INPUTS


def test_make_only_weather_may_be_missing(flights):
    result = features.make(flights)
    assert list(result) == FEATURES
    assert result.index.equals(flights.index)
    assert set(result.columns[result.isna().any()]) <= set(WEATHER)


def test_make_ignores_outcome_of_flight(flights):
    expected = features.make(flights.assign(arr_delay=0.0))
    completed = flights.assign(
        arr_delay=500.0, dep_time=900.0, dep_delay=99.0, arr_time=1200.0, air_time=90.0
    )
    pd.testing.assert_frame_equal(features.make(completed), expected)
    pd.testing.assert_frame_equal(features.make(flights[INPUTS]), expected)


def test_make_single_row_gives_same_features(flights):
    result = features.make(flights)
    pd.testing.assert_frame_equal(features.make(flights.iloc[[50]]), result.iloc[[50]])


def test_make_raw_rows_gives_same_features(all_flights):
    raw = all_flights.iloc[::40]
    assert {"tailnum", "air_time", "time_hour"} <= set(raw)
    result = features.make(raw).reset_index(drop=True)
    pd.testing.assert_frame_equal(result, features.make(data.check(FLIGHTS, raw)))


def test_make_converts_clock_and_weekday(flights):
    new_year = flights.head(1).assign(sched_dep_time=1359, sched_arr_time=2400, day=1, month=1)
    row = features.make(new_year).iloc[0]
    assert (row["weekday"], row["departure_minute"], row["arrival_minute"]) == (1, 839, 1440)


@pytest.mark.parametrize("absent", [[name] for name in WEATHER] + [WEATHER])
def test_make_absent_weather_is_nan(flights, absent):
    result = features.make(flights.drop(columns=absent))
    assert result[absent].isna().all(axis=None)
    others = result.columns.difference(absent)
    pd.testing.assert_frame_equal(result[others], features.make(flights)[others])


def test_carried_copy_has_hash_in_its_name(flights):
    copy = carried.of(FLIGHTS)
    assert copy.module is carried.of(FLIGHTS).module
    assert copy.module.make is not features.make
    source = Path(features.__file__).read_bytes()
    assert copy.source.encode() == source
    assert copy.module.__name__ == f"features_{sha256(source).hexdigest()[:12]}"
    # Pickle and skops import the functions of the copy by this name.
    assert importlib.import_module(copy.module.make.__module__).make is copy.module.make
    pd.testing.assert_frame_equal(copy.table(flights), features.make(flights))


def test_carried_copy_of_other_source_has_other_name():
    source = Path(features.__file__).read_text()
    copy = carried._copy(f"{source}\n# changed\n")
    assert copy.__name__ != carried.of(FLIGHTS).module.__name__
