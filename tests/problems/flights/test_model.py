"""Test how flights are split, and how models are trained and applied."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ml import Refused, data, model
from problems.flights import PROBLEM as FLIGHTS
from problems.flights import features
from problems.flights.features import WEATHER

from tests.problems.flights.calls import FEATURES, INPUTS, evaluate, score, split, train

Parts = tuple[pd.DataFrame, pd.DataFrame]


def test_split_holds_out_later_months(table):
    earlier, later = split(table, 3)
    assert (earlier["month"].max(), later["month"].min()) == (9, 10)
    assert len(earlier) + len(later) == len(table)


def test_split_holds_out_at_most_a_third_of_days(table):
    january = table[table["month"] == 1]
    earlier, later = split(january, 1)
    assert (earlier["day"].max(), later["day"].min()) == (20, 21)


@st.composite
def tables(draw):
    """Draw flights on random days of up to two years, in random order."""
    start = draw(st.dates(pd.Timestamp("2012-01-01").date(), pd.Timestamp("2014-01-01").date()))
    days = draw(st.lists(st.integers(0, draw(st.integers(0, 700))), min_size=1, max_size=60))
    late = draw(st.lists(st.booleans(), min_size=len(days), max_size=len(days)))
    date = pd.Series(pd.Timestamp(start) + pd.to_timedelta(days, unit="D"))
    parts = {name: getattr(date.dt, name) for name in ("year", "month", "day")}
    return pd.DataFrame({"date": date, **parts, "late": late})


@settings(max_examples=100, deadline=None)
@given(table=tables(), months=st.integers(1, 11))
def test_split_any_table_keeps_order_and_limits(table, months):
    try:
        earlier, later = split(table, months)
    except Refused:
        return
    pd.testing.assert_frame_equal(pd.concat([earlier, later]).sort_index(), table)
    assert earlier["date"].max() < later["date"].min()
    last = table["date"].max().to_period("M")
    assert (last - later["date"].min().to_period("M")).n < months
    days = (table["date"].max() - table["date"].min()).days + 1
    held_out_days = (table["date"].max() - later["date"].min()).days + 1
    assert held_out_days <= days / 3 + 1
    assert all(set(part["late"]) == {True, False} for part in (earlier, later))


@settings(max_examples=30, deadline=None)
@given(table=tables(), months=st.integers(1, 11), late=st.booleans())
def test_split_single_class_is_refused(table, months, late):
    with pytest.raises(
        Refused, match=r"^nothing to (train on|hold out): needs (20 flights|flights of two classes)"
    ):
        split(table.assign(**{"late": late}), months)


def test_split_part_with_single_class_is_refused(table):
    december = table["month"] == 12
    with pytest.raises(Refused, match="train on"):
        split(table[december | ~table["late"]], 1)
    with pytest.raises(Refused, match="hold out"):
        split(table[~december | ~table["late"]], 1)


def test_split_without_arrivals_is_refused(flights):
    with pytest.raises(Refused, match="nothing to train on"):
        split(data.labelled(FLIGHTS, flights.assign(arr_delay=np.nan)), 1)


@pytest.mark.parametrize("kind", FLIGHTS.models)
def test_train_same_seed_gives_same_model(parts, models, kind):
    repetition = score(train(kind, parts[0], seed=1), parts[1])
    assert np.array_equal(repetition, score(models[kind], parts[1]))


def test_train_other_seed_gives_other_boosted_model(table):
    # The seed matters only above 10,000 rows, where early stopping uses a random part.
    rows = pd.concat([table, table])
    chances = [score(train("boosted", rows, seed), table) for seed in (1, 2)]
    assert not np.array_equal(*chances)


@pytest.mark.parametrize("kind", FLIGHTS.models)
def test_train_learns_from_labels(parts, models, kind):
    metrics = evaluate(parts[1]["late"], score(models[kind], parts[1]))
    assert 0.6 < metrics["auc"] < 0.8
    assert 0 < metrics["brier"] < metrics["log_loss"] < 0.75
    assert 0 < metrics["calibration_error"] < 0.3


@pytest.mark.parametrize("kind", FLIGHTS.models)
def test_train_shuffled_labels_learns_nothing(parts, kind):
    earlier, later = parts
    labels = earlier["late"].sample(frac=1, random_state=1).to_numpy()
    estimator = train(kind, earlier.assign(**{"late": labels}), seed=7)
    assert abs(evaluate(later["late"], score(estimator, later))["auc"] - 0.5) < 0.07


@pytest.mark.parametrize("kind", FLIGHTS.models)
def test_score_unknown_codes_succeeds(parts, models, kind):
    new = parts[1].head(2).assign(dest="XYZ", carrier="ZZ")
    assert np.isfinite(score(models[kind], new)).all()


@pytest.mark.parametrize("kind", FLIGHTS.models)
@pytest.mark.parametrize("absent", [["temp"], WEATHER])
def test_score_without_weather_succeeds(parts, models, kind, absent):
    without = score(models[kind], parts[1].drop(columns=absent))
    unknown = parts[1].assign(**dict.fromkeys(absent, np.nan))
    assert np.array_equal(without, score(models[kind], unknown))
    assert ((without > 0) & (without < 1)).all()


@pytest.mark.parametrize("kind", FLIGHTS.models)
@pytest.mark.parametrize("column", [name for name in INPUTS if name not in WEATHER])
def test_score_without_required_column_is_refused(parts, models, kind, column):
    with pytest.raises(Refused, match=f"needs .*{column}.* cannot score these flights"):
        score(models[kind], parts[1].drop(columns=column))


def test_score_ignores_target(parts, models):
    inputs = parts[1].drop(columns=["arr_delay", "late"])
    for estimator in models.values():
        assert np.array_equal(score(estimator, inputs), score(estimator, parts[1]))


def test_as_seen_returns_features_and_prediction(parts, models):
    result = model.as_seen(FLIGHTS, models["linear"], parts[1])
    assert list(result) == [*FEATURES, "prediction"]
    pd.testing.assert_frame_equal(result[FEATURES], features.make(parts[1]))
    assert np.array_equal(result["prediction"], score(models["linear"], parts[1]))


@pytest.mark.parametrize("kind", ["boosted", "linear"])
def test_train_without_weather_succeeds(parts, kind):
    without = parts[0].assign(**dict.fromkeys(WEATHER, np.nan))
    assert np.isfinite(score(train(kind, without, 1), without)).all()
