"""Problem, choosing, labelling and keeping flights; what is refused is in test_refused.py."""

import re
from pathlib import Path

import pandas as pd
import pytest
from ml import Refused, data
from ml.features import WEATHER


def test_good_flights_pass_unchanged_in_number(flights):
    assert len(flights) == 8420
    assert list(flights) == list(data.SCHEMA.columns)


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
@pytest.mark.parametrize("named", [True, False])
def test_own_file_gives_the_same_flights_and_needs_no_weather(
    flights, tmp_path, monkeypatch, suffix, named
):
    own = tmp_path / f"own.{suffix}"
    wanted = flights.head(50).drop(columns=WEATHER) if named else flights
    more = wanted.assign(tailnum="N1")
    more.to_csv(own, index=False) if suffix == "csv" else more.to_parquet(own, index=False)
    if not named:
        monkeypatch.setenv("DATASET_URI", str(own))
    read = data.read(str(own)) if named else data.read()
    pd.testing.assert_frame_equal(data.check(read), wanted)


def test_code_na_is_a_code(flights, tmp_path):
    flights.head(3).assign(carrier="NA").to_csv(tmp_path / "own.csv")
    assert data.check(data.read(tmp_path / "own.csv"))["carrier"].tolist() == ["NA"] * 3


@pytest.mark.parametrize("content", [None, b"", b"\x00\xff\xfe"])
@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_a_file_that_cannot_be_read_is_refused_by_its_name(tmp_path, suffix, content):
    file = tmp_path / f"none.{suffix}"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(Refused, match=rf"none\.{suffix}"):
        data.check(data.read(str(file)))


def test_up_to_takes_all_that_is_known_at_the_end_of_a_month(everything):
    known = data.up_to(everything, "2013-03")
    assert set(known["month"]) == {1, 2, 3}
    assert len(known) == (everything["month"] <= 3).sum()
    assert data.last_month(known) == "2013-03"
    assert data.up_to(everything, "") is everything


def test_of_takes_one_month(everything):
    month = data.of(everything, "2013-02")
    assert len(month) == 24_951
    assert set(month["month"]) == {2}


def test_months_are_told_apart_over_years(flights):
    years = flights.assign(year=flights["year"].where(flights["month"] > 6, 2014))
    assert data.last_month(years) == "2014-06"
    assert data.last_month(years[years["year"] == 2013]) == "2013-12"
    assert set(data.up_to(years, "2014-01").query("year == 2014")["month"]) == {1}
    assert set(data.up_to(years, "2013-12")["year"]) == {2013}


@pytest.mark.parametrize("choose", [data.up_to, data.of])
@pytest.mark.parametrize(
    ("lacking", "reason"),
    [([], "no flights of 2014-01"), (["month", "year"], "no column month and year")],
)
def test_a_month_that_is_not_there_or_cannot_be_told_is_refused(flights, choose, lacking, reason):
    with pytest.raises(Refused, match=reason):
        choose(flights.drop(columns=lacking), "2014-01")


def test_late_is_more_than_a_quarter_of_an_hour_and_days_are_dates(flights):
    labelled = data.labelled(flights)
    # Those that never arrived are not learned from.
    assert len(labelled) == flights["arr_delay"].notna().sum() < len(flights)
    assert {15, 16} < set(labelled["arr_delay"])
    assert labelled[data.TARGET].equals(labelled["arr_delay"] > 15)
    assert labelled["date"].iloc[0] == pd.Timestamp(2013, 1, 1)
    assert (labelled["date"].dt.day == labelled["day"]).all()
    assert labelled.index.equals(pd.RangeIndex(len(labelled)))


def test_fingerprint_follows_content(flights, tmp_path):
    stored = data.load(data.save(flights, tmp_path / "new" / "f.parquet"))
    assert data.fingerprint(stored) == data.fingerprint(flights)
    stored.loc[0, "distance"] += 1
    assert data.fingerprint(stored) != data.fingerprint(flights)


@pytest.mark.parametrize("run_id", ["..", "../..", "a/b", "manual__2025-01-01T00:00:00+00:00"])
def test_run_folder_stays_below_data_dir(tmp_path, monkeypatch, run_id):
    monkeypatch.setenv("DATA_DIR", str(tmp_path))
    folder = data.run_folder("training_pipeline", run_id)
    assert folder.resolve().parent == tmp_path / "training_pipeline"


def test_the_schema_is_documented_column_by_column():
    document = (Path(data.__file__).parents[1] / "README.md").read_text(encoding="utf-8")
    table = document.split("| column | type | range |")[1].split("\n\n")[0]
    rows = [line.split("|")[1:4] for line in table.splitlines() if line.startswith("| `")]
    told = {name: row for row in rows for name in re.findall(r"`(\w+)`", row[0])}
    assert set(told) == set(data.SCHEMA.columns)
    for name, column in data.SCHEMA.columns.items():
        assert ("absent" in told[name][1]) == (not column.required), name
        bounds = [check.statistics for check in column.checks if "min_value" in check.statistics]
        if bounds and name not in ("year", "month", "day"):
            low, high = bounds[0]["min_value"], bounds[0]["max_value"]
            assert f"{low} to {high}" in told[name][2], name
