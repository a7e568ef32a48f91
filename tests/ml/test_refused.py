"""Every kind of corrupted batch is refused with its reason; a real month is what is corrupted."""

import numpy as np
import pandas as pd
import pytest
from ml import Refused, data
from ml.features import WEATHER

REQUIRED = [name for name in data.SCHEMA.columns if name not in WEATHER]
# What is looked for in other checks too, which have nothing to say where it is missing.
SAID_ALONE = ["year", "month", "day", "carrier", "flight", "origin", "dest"]
# precip × 10 is not here: it stays below the 12 inches that an hour may have.
TEN_TIMES = ["year", "month", "day", "sched_dep_time", "sched_arr_time", "arr_delay", "flight"]
TEN_TIMES += ["distance", "temp", "humid", "wind_speed", "pressure", "visib"]


@pytest.fixture(scope="module")
def february(everything):
    """Every 50th flight of February, with its row in the file."""
    return data.of(everything, "2013-02").iloc[::50]


def test_the_month_itself_is_good(february):
    assert len(data.check(february)) == len(february) == 500


@pytest.mark.parametrize("column", TEN_TIMES)
def test_a_column_ten_times_too_large_is_refused(february, column):
    with pytest.raises(Refused, match=rf"^bad rows: \d+: .*({column}=|a day of the calendar)"):
        data.check(february.assign(**{column: february[column] * 10}))


@pytest.mark.parametrize("column", REQUIRED)
def test_a_missing_column_is_named(february, column):
    alone = r"\(column_in_dataframe\)$" if column in SAID_ALONE else ""
    with pytest.raises(Refused, match=f"^bad table: {column} {alone}"):
        data.check(february.drop(columns=column))


@pytest.mark.parametrize("absent", [[name] for name in WEATHER] + [WEATHER])
def test_weather_may_be_absent(february, absent):
    assert len(data.check(february.drop(columns=absent))) == len(february)


BAD_VALUES = [(column, "far") for column in (*TEN_TIMES, "precip")]
BAD_VALUES += [("month", 13), ("day", 0), ("sched_dep_time", 1275), ("sched_arr_time", -1)]
BAD_VALUES += [("arr_delay", 12_720.0), ("origin", "New York"), ("carrier", ""), ("carrier", None)]
BAD_VALUES += [("distance", value) for value in (0, np.nan, np.inf)]
BAD_VALUES += [("temp", -np.inf)]


@pytest.mark.parametrize(("column", "value"), BAD_VALUES)
def test_a_bad_value_is_refused_with_its_row_and_text_once(february, column, value):
    bad = february.head(20).astype({column: object})
    bad.loc[bad.index[7], column] = value
    told = "far" if value == "far" else ""
    reason = rf"^bad rows: 1: .*row {bad.index[7]}: {column}={told}"
    with pytest.raises(Refused, match=reason) as refused:
        data.check(bad)
    assert not told or str(refused.value).count(f"row {bad.index[7]}") == 1


def test_a_day_the_calendar_lacks_is_refused(flights):
    bad = flights.head(20).copy()
    bad.loc[3, ["month", "day"]] = [2, 30]
    with pytest.raises(Refused, match=r"^bad rows: 1: row 3 \(not a day of the calendar\)$"):
        data.check(bad)


def test_a_flight_that_stands_there_twice_is_refused(february):
    twice = pd.concat([february, february.iloc[[3]]], ignore_index=True)
    reason = r"^bad rows: 1: row 500 \(not a flight that stands here once\)$"
    with pytest.raises(Refused, match=reason):
        data.check(twice)


def test_the_same_number_on_another_leg_is_another_flight(february):
    onward = february.assign(origin=february["dest"], dest="ZZZ")
    assert len(data.check(pd.concat([february, onward], ignore_index=True))) == 1000


def test_no_rows_are_refused(flights):
    with pytest.raises(Refused, match="empty"):
        data.check(flights.head(0))


@pytest.mark.parametrize("choose", [data.up_to, data.of])
@pytest.mark.parametrize("column", ["year", "month"])
def test_an_unreadable_month_is_named_with_its_row_in_the_file(everything, choose, column):
    march = everything[everything["month"] == 3].iloc[::200].astype({column: object})
    march.loc[march.index[30], column] = "May"
    with pytest.raises(Refused, match=rf"^bad rows: 1: .*row {march.index[30]}: {column}=May"):
        data.check(choose(march, "2013-03"))


@pytest.mark.parametrize("choose", [data.up_to, data.of])
def test_rows_keep_their_number_in_the_file_when_a_month_is_chosen(everything, choose):
    row = int(np.flatnonzero(everything["month"] == 5)[7])
    some = everything.iloc[row - 300 : row + 300].copy()
    some.loc[row, "distance"] = -5
    with pytest.raises(Refused, match=rf"^bad rows: 1: row {row}: distance=-5"):
        data.check(choose(some, "2013-05"))


def test_many_bad_rows_are_counted(flights):
    with pytest.raises(Refused, match=r"^bad rows: 20: row 0: .*; and 15 more$"):
        data.check(flights.head(20).assign(distance=-1))


def test_of_many_bad_rows_the_first_are_named(february):
    with pytest.raises(Refused) as refused:
        data.check(february.assign(distance=-1))
    first = [f"row {row}: distance=-1" for row in february.index[:5]]
    assert [one for one in first if one not in str(refused.value)] == []


def test_a_fraction_where_whole_numbers_belong_is_refused(flights):
    with pytest.raises(Refused, match=r"distance=100\.7"):
        data.check(flights.head(20).assign(distance=100.7))
