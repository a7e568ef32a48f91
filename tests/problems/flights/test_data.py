"""Test how flights are read, selected by month, labelled and stored.

Batches with invalid rows are in test_refused.py.
"""

import re
from pathlib import Path

import pandas as pd
import pytest
from ml import Refused, data
from problems.flights import PROBLEM as FLIGHTS
from problems.flights import table
from problems.flights.features import WEATHER
from problems.flights.table import schema


def test_check_valid_flights_keeps_all_rows(flights):
    assert len(flights) == 8420
    assert list(flights) == list(schema().columns)


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
@pytest.mark.parametrize("as_argument", [True, False])
def test_read_own_file_returns_its_flights(flights, tmp_path, monkeypatch, suffix, as_argument):
    file = tmp_path / f"own.{suffix}"
    expected = flights.head(50).drop(columns=WEATHER) if as_argument else flights
    table = expected.assign(tailnum="N1")
    table.to_csv(file, index=False) if suffix == "csv" else table.to_parquet(file, index=False)
    if not as_argument:
        monkeypatch.setenv("DATASET_URI", str(file))
    rows = data.read(FLIGHTS, str(file)) if as_argument else data.read(FLIGHTS)
    pd.testing.assert_frame_equal(data.check(FLIGHTS, rows), expected)


def test_read_code_na_is_not_a_missing_value(flights, tmp_path):
    flights.head(3).assign(carrier="NA").to_csv(tmp_path / "own.csv")
    assert (
        data.check(FLIGHTS, data.read(FLIGHTS, str(tmp_path / "own.csv")))["carrier"].tolist()
        == ["NA"] * 3
    )


@pytest.mark.parametrize("content", [None, b"", b"\x00\xff\xfe"])
@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_read_unreadable_file_is_refused_with_its_name(tmp_path, suffix, content):
    file = tmp_path / f"none.{suffix}"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(Refused, match=rf"none\.{suffix}"):
        data.check(FLIGHTS, data.read(FLIGHTS, str(file)))


def test_up_to_returns_rows_to_end_of_month(all_flights):
    rows = data.up_to(FLIGHTS, all_flights, "2013-03")
    assert set(rows["month"]) == {1, 2, 3}
    assert len(rows) == (all_flights["month"] <= 3).sum()
    assert data.last_period(FLIGHTS, rows) == "2013-03"
    assert data.up_to(FLIGHTS, all_flights, "") is all_flights


def test_of_returns_one_month(all_flights):
    month = data.of(FLIGHTS, all_flights, "2013-02")
    assert len(month) == 24_951
    assert set(month["month"]) == {2}


def test_same_month_of_two_years_is_two_periods(flights):
    years = flights.assign(year=flights["year"].where(flights["month"] > 6, 2014))
    assert data.last_period(FLIGHTS, years) == "2014-06"
    assert data.last_period(FLIGHTS, years[years["year"] == 2013]) == "2013-12"
    assert set(data.up_to(FLIGHTS, years, "2014-01").query("year == 2014")["month"]) == {1}
    assert set(data.up_to(FLIGHTS, years, "2013-12")["year"]) == {2013}


@pytest.mark.parametrize("choose", [data.up_to, data.of])
@pytest.mark.parametrize(
    ("missing_columns", "reason"),
    [([], "no flights of 2014-01"), (["month", "year"], "no column month and year")],
)
def test_choose_missing_or_unreadable_month_is_refused(flights, choose, missing_columns, reason):
    with pytest.raises(Refused, match=reason):
        choose(FLIGHTS, flights.drop(columns=missing_columns), "2014-01")


def test_labelled_flights_are_late_after_15_minutes(flights):
    labelled = data.labelled(FLIGHTS, flights)
    # Flights that never arrived have no label, so they are dropped.
    assert len(labelled) == flights["arr_delay"].notna().sum() < len(flights)
    assert {15, 16} < set(labelled["arr_delay"])
    assert labelled["late"].equals(labelled["arr_delay"] > 15)
    times = data.times(FLIGHTS, labelled)
    assert times.iloc[0] == pd.Timestamp(2013, 1, 1)
    assert (times.dt.day == labelled["day"]).all()
    assert labelled.index.equals(pd.RangeIndex(len(labelled)))


def test_fingerprint_changes_with_content(flights, tmp_path):
    stored = data.load(data.save(flights, tmp_path / "new" / "f.parquet"))
    assert data.fingerprint(stored) == data.fingerprint(flights)
    stored.loc[0, "distance"] += 1
    assert data.fingerprint(stored) != data.fingerprint(flights)


@pytest.mark.parametrize("run_id", ["..", "../..", "a/b", "manual__2025-01-01T00:00:00+00:00"])
def test_run_folder_stays_below_data_dir(tmp_path, monkeypatch, run_id):
    monkeypatch.setenv("DATA_DIR", str(tmp_path))
    folder = data.run_folder("training_pipeline", run_id)
    assert folder.resolve().parent == tmp_path / "training_pipeline"


def test_readme_describes_every_column_of_schema():
    document = Path(table.__file__).with_name("README.md").read_text(encoding="utf-8")
    lines = document.split("| column | type | range |")[1].split("\n\n")[0].splitlines()
    rows = [line.split("|")[1:4] for line in lines if line.startswith("| `")]
    descriptions = {name: row for row in rows for name in re.findall(r"`(\w+)`", row[0])}
    assert set(descriptions) == set(schema().columns)
    for name, column in schema().columns.items():
        assert ("absent" in descriptions[name][1]) == (not column.required), name
        bounds = [check.statistics for check in column.checks if "min_value" in check.statistics]
        if bounds and name not in ("year", "month", "day"):
            low, high = bounds[0]["min_value"], bounds[0]["max_value"]
            assert f"{low} to {high}" in descriptions[name][2], name
