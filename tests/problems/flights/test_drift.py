"""Test on real flights when a month has drifted, and when drift starts a training."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ml import drift, scores
from problems.flights import PROBLEM as FLIGHTS
from problems.flights import features

COLUMNS = ["carrier", "origin", "departure_minute", "distance", "temp"]
MONTHS = [f"2013-{number:02}" for number in range(1, 13)]
months = st.sampled_from(MONTHS)


@pytest.fixture(scope="module")
def reference(table):
    """Return the compared features of all flights."""
    return features.make(table)[COLUMNS]


@pytest.fixture(scope="module")
def half(reference):
    """Return a random part of `reference`, about half of it."""
    return reference.sample(4000, random_state=1)


def test_compare_shuffled_table_has_no_drift(reference):
    result = drift.compare(reference, reference.sample(frac=1, random_state=3), FLIGHTS.limits)
    assert list(result.by_column) == COLUMNS
    assert max(result.by_column.values()) < 0.01
    assert (result.columns, result.share, result.past_threshold) == ([], 0, False)


def test_compare_ignores_order_of_rows(reference, half):
    mixed = drift.compare(
        reference.sample(frac=1, random_state=3),
        half.sample(frac=1, random_state=4),
        FLIGHTS.limits,
    )
    plain = drift.compare(reference, half, FLIGHTS.limits)
    assert mixed.by_column == pytest.approx(plain.by_column, abs=1e-9)


@pytest.mark.parametrize("column", ["departure_minute", "temp"])
def test_compare_shifted_column_is_named(reference, half, column):
    shift = 2 * reference[column].std()
    result = drift.compare(reference, half.assign(**{column: half[column] + shift}), FLIGHTS.limits)
    assert result.columns == [column]
    assert result.share == 0.2


def test_compare_names_largest_drift_first(reference, half):
    other = half[half["origin"] != "LGA"].assign(carrier="ZZ")
    result = drift.compare(reference, other.assign(unknown=1.0), FLIGHTS.limits)
    assert result.columns == ["carrier", "origin"]
    assert result.past_threshold
    assert "ZZ" in result.html
    assert '"metrics"' in result.json


def test_compare_includes_partly_missing_weather(reference, half):
    result = drift.compare(
        reference,
        half.assign(temp=half["temp"].where(np.arange(len(half)) % 3 > 0)),
        FLIGHTS.limits,
    )
    assert "temp" in result.by_column


@pytest.mark.parametrize("missing_when", ["now", "then", "ever"])
def test_compare_month_without_weather_succeeds(reference, half, missing_when):
    before = reference if missing_when == "now" else reference.assign(temp=np.nan)
    result = drift.compare(
        before, half if missing_when == "then" else half.assign(temp=np.nan), FLIGHTS.limits
    )
    assert "distance" in result.by_column


@pytest.mark.parametrize(("count", "expected"), [(0, False), (1, False), (2, True)])
def test_drift_of_a_quarter_of_columns_is_past_threshold(count, expected):
    values = {f"c{n}": 0.2 if n < count else 0.199 for n in range(7)}
    result = drift.Drift(values, "", "", FLIGHTS.limits)
    assert len(result.columns) == count
    assert result.past_threshold == expected


@pytest.mark.parametrize(("auc", "expected"), [(0.75, False), (0.721, False), (0.719, True)])
def test_has_decayed_beyond_limit_is_true(auc, expected):
    assert scores.has_decayed(FLIGHTS, auc, 0.75) == expected


def test_sample_is_bounded_and_reproducible(table):
    assert len(drift.sample(table, 1)) == len(table)
    rows = pd.concat([table] * 3)
    assert len(drift.sample(rows, 1)) == drift.REFERENCE_ROWS
    assert drift.sample(rows, 1).equals(drift.sample(rows, 1))


def test_newer_accepts_each_later_month_once():
    assert drift.newer("2013-04", "2013-03", [])
    assert not drift.newer("2013-04", "2013-04", [])
    assert not drift.newer("2013-03", "2013-04", [])
    assert not drift.newer("2013-04", "2013-03", ["2013-04"])
    assert drift.newer("2014-01", "2013-12", ["2013-12", None])


@given(st.lists(months, max_size=40), months)
def test_newer_any_arrivals_request_later_months_once(arrivals, last_month):
    requests: list[str] = []
    for month in arrivals:
        if drift.newer(month, last_month, requests):
            requests.append(month)
    assert sorted(requests) == sorted({month for month in arrivals if month > last_month})


@settings(max_examples=200, deadline=None)
@given(st.lists(months, max_size=20), months, st.data())
def test_monitoring_and_training_do_not_loop(arrivals, last_month, data):
    """Assume drift in every month, any verdict, and another check after each new champion."""
    requests: list[str] = []
    checks, queue = 0, list(arrivals)
    while queue:
        month, checks = queue.pop(0), checks + 1
        assert checks <= len(arrivals) + len(set(arrivals)), "no end"
        if not drift.newer(month, last_month, requests):
            continue
        requests.append(month)
        if scores.alias(FLIGHTS, data.draw(st.sampled_from(VERDICTS)), VERDICTS[0]) == "champion":
            last_month = month
            queue.insert(data.draw(st.integers(0, len(queue))), month)
    assert len(requests) == len(set(requests)) <= len(set(arrivals))


VERDICTS = [{"auc": 0.7, "log_loss": 0.5}, {"auc": 0.75, "log_loss": 0.4}]
