import importlib

import pandas as pd
import pytest
from ml import carried, data, features
from ml.features import FEATURES, INPUTS, WEATHER


def test_every_flight_gets_all_features_and_only_weather_may_be_missing(flights):
    made = features.make(flights)
    assert list(made) == FEATURES
    assert made.index.equals(flights.index)
    assert set(made.columns[made.isna().any()]) <= set(WEATHER)


def test_nothing_of_the_flight_itself_leaks(flights):
    known = features.make(flights.assign(arr_delay=0.0))
    flown = flights.assign(
        arr_delay=500.0, dep_time=900.0, dep_delay=99.0, arr_time=1200.0, air_time=90.0
    )
    pd.testing.assert_frame_equal(features.make(flown), known)
    pd.testing.assert_frame_equal(features.make(flights[INPUTS]), known)


def test_a_row_depends_on_itself_alone(flights):
    made = features.make(flights)
    pd.testing.assert_frame_equal(features.make(flights.iloc[[50]]), made.iloc[[50]])


def test_raw_rows_of_the_sample_are_taken_as_they_are(everything):
    raw = everything.iloc[::40]
    assert {"tailnum", "air_time", "time_hour"} <= set(raw)
    made = features.make(raw).reset_index(drop=True)
    pd.testing.assert_frame_equal(made, features.make(data.check(raw)))


def test_clock_and_weekday(flights):
    new_year = flights.head(1).assign(sched_dep_time=1359, sched_arr_time=2400, day=1, month=1)
    row = features.make(new_year).iloc[0]
    assert (row["weekday"], row["departure_minute"], row["arrival_minute"]) == (1, 839, 1440)


@pytest.mark.parametrize("absent", [[name] for name in WEATHER] + [WEATHER])
def test_absent_weather_is_missing(flights, absent):
    made = features.make(flights.drop(columns=absent))
    assert made[absent].isna().all(axis=None)
    others = made.columns.difference(absent)
    pd.testing.assert_frame_equal(made[others], features.make(flights)[others])


def test_a_model_carries_a_copy_with_its_hash_in_its_name(flights):
    own = carried.features_of_its_own()
    assert own is carried.features_of_its_own()
    assert own.make is not features.make
    source = carried.Path(features.__file__).read_bytes()
    assert carried.source().encode() == source
    assert own.__name__ == f"features_{carried.sha256(source).hexdigest()[:12]}"
    # Pickle and skops find its functions by this name.
    assert importlib.import_module(own.make.__module__).make is own.make
    pd.testing.assert_frame_equal(own.make(flights), features.make(flights))


def test_other_features_get_another_name(tmp_path, monkeypatch):
    own = carried.features_of_its_own()
    changed = tmp_path / "features.py"
    changed.write_bytes(carried.Path(features.__file__).read_bytes() + b"\n# changed\n")
    monkeypatch.setattr(features, "__file__", str(changed))
    other = carried.features_of_its_own.__wrapped__()
    assert other.__name__ != own.__name__
