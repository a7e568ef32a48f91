"""Splitting, training, scoring, and the rules that pick."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ml import MODELS, Refused, data, features, model
from ml.data import TARGET
from ml.features import FEATURES, INPUTS, WEATHER

Parts = tuple[pd.DataFrame, pd.DataFrame]


def test_kinds_are_those_that_the_pipeline_trains():
    assert tuple(model.KINDS) == MODELS


def test_later_months_are_held_out(table):
    earlier, later = model.split(table, 3)
    assert earlier["date"].max() < pd.Timestamp("2013-10-01") <= later["date"].min()
    assert len(earlier) + len(later) == len(table)


def test_at_most_a_third_of_the_days_is_held_out(table):
    january = table[table["month"] == 1]
    earlier, later = model.split(january, 1)
    assert (earlier["day"].max(), later["day"].min()) == (20, 21)


@st.composite
def tables(draw):
    """Flights of some days, in any order, over up to two years."""
    start = draw(st.dates(pd.Timestamp("2012-01-01").date(), pd.Timestamp("2014-01-01").date()))
    days = draw(st.lists(st.integers(0, draw(st.integers(0, 700))), min_size=1, max_size=60))
    late = draw(st.lists(st.booleans(), min_size=len(days), max_size=len(days)))
    date = pd.Timestamp(start) + pd.to_timedelta(days, unit="D")
    return pd.DataFrame({"date": date, TARGET: late})


@settings(max_examples=100, deadline=None)
@given(table=tables(), months=st.integers(1, 11))
def test_what_is_held_out_is_later_whole_and_little(table, months):
    try:
        earlier, later = model.split(table, months)
    except Refused:
        return
    pd.testing.assert_frame_equal(pd.concat([earlier, later]).sort_index(), table)
    assert earlier["date"].max() < later["date"].min()
    last = table["date"].max().to_period("M")
    assert (last - later["date"].min().to_period("M")).n < months
    days = (table["date"].max() - table["date"].min()).days + 1
    held_out = (table["date"].max() - later["date"].min()).days + 1
    assert held_out <= days / 3 + 1
    assert all(set(part[TARGET]) == {True, False} for part in (earlier, later))


@settings(max_examples=30, deadline=None)
@given(table=tables(), months=st.integers(1, 11), late=st.booleans())
def test_a_split_is_refused_when_all_are_late_or_none(table, months, late):
    with pytest.raises(Refused, match=r"^nothing to (train on|hold out): needs late and punctual"):
        model.split(table.assign(**{TARGET: late}), months)


def test_a_split_needs_both_outcomes_on_both_sides(table):
    december = table["date"] >= "2013-12-01"
    with pytest.raises(Refused, match="train on"):
        model.split(table[december | ~table[TARGET]], 1)
    with pytest.raises(Refused, match="hold out"):
        model.split(table[~december | ~table[TARGET]], 1)


def test_flights_of_which_none_has_arrived_are_refused(flights):
    with pytest.raises(Refused, match="nothing to train on"):
        model.split(data.labelled(flights.assign(arr_delay=np.nan)), 1)


@pytest.mark.parametrize("kind", MODELS)
def test_same_seed_same_model(parts, fitted, kind):
    again = model.score(model.train(kind, parts[0], seed=1), parts[1])
    assert np.array_equal(again, model.score(fitted[kind], parts[1]))


def test_seed_reaches_the_trees(table):
    # Above 10,000 rows the trees stop early on a random part, which is what the seed draws.
    many = pd.concat([table, table])
    chances = [model.score(model.train("boosted", many, seed), table) for seed in (1, 2)]
    assert not np.array_equal(*chances)


@pytest.mark.parametrize("kind", MODELS)
def test_models_learn_something(parts, fitted, kind):
    metrics = model.evaluate(parts[1][TARGET], model.score(fitted[kind], parts[1]))
    assert 0.6 < metrics["auc"] < 0.8
    assert 0 < metrics["brier"] < metrics["log_loss"] < 0.75
    assert 0 < metrics["calibration_error"] < 0.3


@pytest.mark.parametrize("kind", MODELS)
def test_shuffled_labels_teach_nothing(parts, kind):
    earlier, later = parts
    labels = earlier[TARGET].sample(frac=1, random_state=1).to_numpy()
    untaught = model.train(kind, earlier.assign(**{TARGET: labels}), seed=7)
    assert abs(model.evaluate(later[TARGET], model.score(untaught, later))["auc"] - 0.5) < 0.07


@pytest.mark.parametrize("kind", MODELS)
def test_unknown_airport_and_carrier_are_scored(parts, fitted, kind):
    new = parts[1].head(2).assign(dest="XYZ", carrier="ZZ")
    assert np.isfinite(model.score(fitted[kind], new)).all()


@pytest.mark.parametrize("kind", MODELS)
@pytest.mark.parametrize("absent", [["temp"], WEATHER])
def test_flights_without_weather_are_scored(parts, fitted, kind, absent):
    without = model.score(fitted[kind], parts[1].drop(columns=absent))
    unknown = parts[1].assign(**dict.fromkeys(absent, np.nan))
    assert np.array_equal(without, model.score(fitted[kind], unknown))
    assert ((without > 0) & (without < 1)).all()


@pytest.mark.parametrize("kind", MODELS)
@pytest.mark.parametrize("column", [name for name in INPUTS if name not in WEATHER])
def test_flights_without_a_needed_column_are_refused(parts, fitted, kind, column):
    with pytest.raises(Refused, match=f"needs .*{column}.* cannot score these flights"):
        model.score(fitted[kind], parts[1].drop(columns=column))


def test_the_answer_is_not_read(parts, fitted):
    blind = parts[1].drop(columns=["arr_delay", TARGET, "date"])
    for one in fitted.values():
        assert np.array_equal(model.score(one, blind), model.score(one, parts[1]))


def test_drift_is_measured_on_what_the_model_sees(parts, fitted):
    seen = model.as_seen(fitted["linear"], parts[1])
    assert list(seen) == [*FEATURES, "prediction"]
    pd.testing.assert_frame_equal(seen[FEATURES], features.make(parts[1]))
    assert np.array_equal(seen["prediction"], model.score(fitted["linear"], parts[1]))


@pytest.mark.parametrize("kind", ["boosted", "linear"])
def test_a_model_is_trained_where_there_is_no_weather(parts, kind):
    without = parts[0].assign(**dict.fromkeys(WEATHER, np.nan))
    assert np.isfinite(model.score(model.train(kind, without, 1), without)).all()
