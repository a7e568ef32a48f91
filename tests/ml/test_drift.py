"""What counts as drift, and when a drifted month is worth a training; on real flights."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ml import drift, model

COLUMNS = ["carrier", "origin", "departure_minute", "distance", "temp"]
MONTHS = [f"2013-{number:02}" for number in range(1, 13)]
months = st.sampled_from(MONTHS)


@pytest.fixture(scope="module")
def seen(table):
    return table[COLUMNS]


@pytest.fixture(scope="module")
def half(seen):
    return seen.sample(4000, random_state=1)


def test_a_table_has_not_drifted_from_itself_in_whatever_order(seen):
    found = drift.compare(seen, seen.sample(frac=1, random_state=3))
    assert list(found.by_column) == COLUMNS
    assert max(found.by_column.values()) < 0.01
    assert (found.columns, found.share, found.past_threshold) == ([], 0, False)


def test_order_of_rows_does_not_matter(seen, half):
    mixed = drift.compare(seen.sample(frac=1, random_state=3), half.sample(frac=1, random_state=4))
    plain = drift.compare(seen, half)
    assert mixed.by_column == pytest.approx(plain.by_column, abs=1e-9)


@pytest.mark.parametrize("column", ["departure_minute", "temp"])
def test_a_shifted_number_is_the_one_named(seen, half, column):
    shift = 2 * seen[column].std()
    found = drift.compare(seen, half.assign(**{column: half[column] + shift}))
    assert found.columns == [column]
    assert found.share == 0.2


def test_other_carriers_and_lost_airports_are_named_the_furthest_first(seen, half):
    other = half[half["origin"] != "LGA"].assign(carrier="ZZ")
    found = drift.compare(seen, other.assign(unknown=1.0))
    assert found.columns == ["carrier", "origin"]
    assert found.past_threshold
    assert "ZZ" in found.html
    assert '"metrics"' in found.json


def test_weather_that_is_missing_here_and_there_is_compared(seen, half):
    found = drift.compare(seen, half.assign(temp=half["temp"].where(np.arange(len(half)) % 3 > 0)))
    assert "temp" in found.by_column


@pytest.mark.parametrize("lacking", ["now", "then", "ever"])
def test_weather_that_a_month_lacks_does_not_end_monitoring(seen, half, lacking):
    reference = seen if lacking == "now" else seen.assign(temp=np.nan)
    found = drift.compare(reference, half if lacking == "then" else half.assign(temp=np.nan))
    assert "distance" in found.by_column


@pytest.mark.parametrize(("drifted", "past"), [(0, False), (1, False), (2, True)])
def test_a_quarter_of_the_columns_makes_a_month_drifted(drifted, past):
    values = {f"c{n}": 0.2 if n < drifted else 0.199 for n in range(7)}
    found = drift.Drift(values, "", "")
    assert len(found.columns) == drifted
    assert found.past_threshold == past


@pytest.mark.parametrize(("auc", "decayed"), [(0.75, False), (0.721, False), (0.719, True)])
def test_a_champion_decays_by_the_limit(auc, decayed):
    assert drift.decayed(auc, 0.75) == decayed


def test_the_kept_sample_is_bounded_and_the_same_for_a_seed(table):
    assert len(drift.sample(table, 1)) == len(table)
    many = pd.concat([table] * 3)
    assert len(drift.sample(many, 1)) == drift.REFERENCE_ROWS
    assert drift.sample(many, 1).equals(drift.sample(many, 1))


def test_a_month_is_worth_a_training_once_and_only_past_what_is_known():
    assert drift.newer("2013-04", "2013-03", [])
    assert not drift.newer("2013-04", "2013-04", [])
    assert not drift.newer("2013-03", "2013-04", [])
    assert not drift.newer("2013-04", "2013-03", ["2013-04"])
    assert drift.newer("2014-01", "2013-12", ["2013-12", None])


@given(st.lists(months, max_size=40), months)
def test_no_month_is_asked_for_twice_nor_one_that_is_known(come, known):
    asked: list[str] = []
    for month in come:
        if drift.newer(month, known, asked):
            asked.append(month)
    assert sorted(asked) == sorted({month for month in come if month > known})


@settings(max_examples=200, deadline=None)
@given(st.lists(months, max_size=20), months, st.data())
def test_monitoring_and_training_never_start_each_other_for_ever(come, known, data):
    """Every look finds drift; every training ends as it likes, each champion is looked at again."""
    asked: list[str] = []
    looks, waiting = 0, list(come)
    while waiting:
        month, looks = waiting.pop(0), looks + 1
        assert looks <= len(come) + len(set(come)), "no end"
        if not drift.newer(month, known, asked):
            continue
        asked.append(month)
        if model.alias(data.draw(st.sampled_from(VERDICTS)), VERDICTS[0]) == "champion":
            known = month
            waiting.insert(data.draw(st.integers(0, len(waiting))), month)
    assert len(asked) == len(set(asked)) <= len(set(come))


VERDICTS = [{"auc": 0.7, "log_loss": 0.5}, {"auc": 0.75, "log_loss": 0.4}]
