"""Test that a real month with corrupted rows or columns is refused with the reason."""

import numpy as np
import pandas as pd
import pytest
from ml import Refused, data
from problems.flights import PROBLEM as FLIGHTS
from problems.flights.features import WEATHER
from problems.flights.table import schema

REQUIRED = [name for name in schema().columns if name not in WEATHER]
# Checks across columns need these and are skipped without them, so one reason remains.
ONE_REASON = ["year", "month", "day", "carrier", "flight", "origin", "dest"]
# precip is left out because ten times its values stay below the limit of 12 inches an hour.
TEN_TIMES = ["year", "month", "day", "sched_dep_time", "sched_arr_time", "arr_delay", "flight"]
TEN_TIMES += ["distance", "temp", "humid", "wind_speed", "pressure", "visib"]


@pytest.fixture(scope="module")
def february(all_flights):
    """Return every 50th flight of February, with its row in the file as index."""
    return data.of(FLIGHTS, all_flights, "2013-02").iloc[::50]


def test_check_real_month_is_accepted(february):
    assert len(data.check(FLIGHTS, february)) == len(february) == 500


@pytest.mark.parametrize("column", TEN_TIMES)
def test_check_tenfold_column_is_refused(february, column):
    with pytest.raises(Refused, match=rf"^bad rows: \d+: .*({column}=|a readable time)"):
        data.check(FLIGHTS, february.assign(**{column: february[column] * 10}))


@pytest.mark.parametrize("column", REQUIRED)
def test_check_missing_column_is_named(february, column):
    suffix = r"\(column_in_dataframe\)$" if column in ONE_REASON else ""
    with pytest.raises(Refused, match=f"^bad table: {column} {suffix}"):
        data.check(FLIGHTS, february.drop(columns=column))


@pytest.mark.parametrize("absent", [[name] for name in WEATHER] + [WEATHER])
def test_check_absent_weather_is_accepted(february, absent):
    assert len(data.check(FLIGHTS, february.drop(columns=absent))) == len(february)


BAD_VALUES = [(column, "far") for column in (*TEN_TIMES, "precip")]
BAD_VALUES += [("month", 13), ("day", 0), ("sched_dep_time", 1275), ("sched_arr_time", -1)]
BAD_VALUES += [("arr_delay", 12_720.0), ("origin", "New York"), ("carrier", ""), ("carrier", None)]
BAD_VALUES += [("distance", value) for value in (0, np.nan, np.inf)]
BAD_VALUES += [("temp", -np.inf)]


@pytest.mark.parametrize(("column", "value"), BAD_VALUES)
def test_check_bad_value_is_refused_with_row_and_text(february, column, value):
    bad = february.head(20).astype({column: object})
    bad.loc[bad.index[7], column] = value
    text = "far" if value == "far" else ""
    reason = rf"^bad rows: 1: .*row {bad.index[7]}: {column}={text}"
    with pytest.raises(Refused, match=reason) as error:
        data.check(FLIGHTS, bad)
    assert not text or str(error.value).count(f"row {bad.index[7]}") == 1


def test_check_impossible_date_is_refused(flights):
    bad = flights.head(20).copy()
    bad.loc[3, ["month", "day"]] = [2, 30]
    with pytest.raises(Refused, match=r"^bad rows: 1: row 3 \(not a readable time\)$"):
        data.check(FLIGHTS, bad)


def test_check_duplicate_flight_is_refused(february):
    rows = pd.concat([february, february.iloc[[3]]], ignore_index=True)
    reason = r"^bad rows: 1: row 500 \(not a flight listed once\)$"
    with pytest.raises(Refused, match=reason):
        data.check(FLIGHTS, rows)


def test_check_same_number_on_other_leg_is_accepted(february):
    onward = february.assign(origin=february["dest"], dest="ZZZ")
    assert len(data.check(FLIGHTS, pd.concat([february, onward], ignore_index=True))) == 1000


def test_check_empty_table_is_refused(flights):
    with pytest.raises(Refused, match="empty"):
        data.check(FLIGHTS, flights.head(0))


@pytest.mark.parametrize("choose", [data.up_to, data.of])
@pytest.mark.parametrize("column", ["year", "month"])
def test_choose_unreadable_month_is_refused_with_row(all_flights, choose, column):
    march = all_flights[all_flights["month"] == 3].iloc[::200].astype({column: object})
    march.loc[march.index[30], column] = "May"
    with pytest.raises(Refused, match=rf"^bad rows: 1: .*row {march.index[30]}: {column}=May"):
        data.check(FLIGHTS, choose(FLIGHTS, march, "2013-03"))


@pytest.mark.parametrize("choose", [data.up_to, data.of])
def test_choose_keeps_row_numbers_of_file(all_flights, choose):
    row = int(np.flatnonzero(all_flights["month"] == 5)[7])
    rows = all_flights.iloc[row - 300 : row + 300].copy()
    rows.loc[row, "distance"] = -5
    with pytest.raises(Refused, match=rf"^bad rows: 1: row {row}: distance=-5"):
        data.check(FLIGHTS, choose(FLIGHTS, rows, "2013-05"))


def test_check_many_bad_rows_are_counted(flights):
    with pytest.raises(Refused, match=r"^bad rows: 20: row 0: .*; and 15 more$"):
        data.check(FLIGHTS, flights.head(20).assign(distance=-1))


def test_check_many_bad_rows_names_first_ones(february):
    with pytest.raises(Refused) as error:
        data.check(FLIGHTS, february.assign(distance=-1))
    lines = [f"row {row}: distance=-1" for row in february.index[:5]]
    assert [line for line in lines if line not in str(error.value)] == []


def test_check_fraction_of_integer_is_refused(flights):
    with pytest.raises(Refused, match=r"distance=100\.7"):
        data.check(FLIGHTS, flights.head(20).assign(distance=100.7))
