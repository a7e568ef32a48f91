"""Scores on constructed and real data, and the rules that pick by them."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ml import data, features, model
from ml.data import TARGET
from ml.features import FEATURES

GOOD = {"auc": 0.7, "log_loss": 0.5}
BETTER = {"auc": 0.7 + model.AUC_MARGIN, "log_loss": 0.5}
ALMOST = {"auc": 0.7 + model.AUC_MARGIN * 0.99, "log_loss": 0.5}
UNSURE = {"auc": 0.8, "log_loss": 0.5001}
Parts = tuple[pd.DataFrame, pd.DataFrame]


def test_promises_that_are_kept_have_no_calibration_error():
    chance = np.repeat([0.0, 0.25, 0.5, 0.75, 1.0], 200)
    late = np.tile(np.arange(100) % 4, 10) < chance * 4
    assert model.calibration_error(late, chance) == 0


@pytest.mark.parametrize(("promised", "share"), [(0.5, 0.2), (0.1, 0.4), (1.0, 0.0)])
def test_calibration_error_is_the_distance_between_promise_and_share(promised, share):
    late = np.tile(np.arange(10) < share * 10, 10)
    error = model.calibration_error(late, np.full(100, promised))
    assert error == pytest.approx(abs(promised - share))


def test_calibration_errors_of_both_directions_do_not_cancel_out():
    chance = np.repeat([0.2, 0.8], 50)
    late = np.tile(np.arange(10) < 5, 10)
    assert model.calibration_error(late, chance) == pytest.approx(0.3)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.booleans(), st.floats(0, 1)), min_size=1, max_size=40))
def test_calibration_error_is_from_0_to_1_for_any_number_of_flights(rows):
    late, chance = map(np.array, zip(*rows, strict=True))
    assert 0 <= model.calibration_error(late, chance) <= 1


def test_scores_of_a_constructed_case():
    late, chance = pd.Series([False, True, False, True]), np.array([0.1, 0.4, 0.5, 0.9])
    metrics = model.evaluate(late, chance)
    assert list(metrics) == ["auc", "log_loss", "brier", "calibration_error"]
    assert metrics["auc"] == 0.75
    assert metrics["brier"] == pytest.approx((0.01 + 0.36 + 0.25 + 0.01) / 4)
    assert metrics["log_loss"] == pytest.approx(-np.log([0.9, 0.4, 0.5, 0.9]).mean())


@pytest.mark.parametrize(
    ("one", "wins"), [(GOOD, False), (ALMOST, False), (BETTER, True), (UNSURE, False)]
)
def test_better_by_the_margin_and_no_less_sure(one, wins):
    assert model.better(one, GOOD) == wins
    assert not model.better(GOOD, one)
    assert model.alias(one, GOOD) == ("champion" if wins else "challenger")
    assert model.pick({"boosted": one, "linear": GOOD}) == ("boosted" if wins else "linear")


def test_the_first_is_champion_however_bad_and_one_kind_alone_is_picked():
    assert model.alias({"auc": 0.4, "log_loss": 9.0}, None) == "champion"
    assert model.pick({"boosted": GOOD}) == "boosted"


def test_months_are_scored_each_by_itself(parts, fitted):
    table = pd.concat(parts)
    chance = model.score(fitted["linear"], table)
    monthly = model.by_month(table, chance)
    assert list(monthly) == [f"2013-{number:02}" for number in range(1, 13)]
    march = (table["month"] == 3).to_numpy()
    assert monthly["2013-03"] == model.evaluate(table[march][TARGET], chance[march])


def test_a_month_without_late_flights_is_left_out(parts, fitted):
    table = pd.concat(parts)
    punctual = table[(table["month"] != 3) | ~table[TARGET]]
    assert "2013-03" not in model.by_month(punctual, model.score(fitted["linear"], punctual))


def test_importance_has_every_feature_the_most_first(parts, fitted):
    found = model.importance(fitted["boosted"], parts[1], seed=1, rows=300)
    assert sorted(found.index) == sorted(FEATURES)
    assert found.is_monotonic_decreasing
    assert found.index.get_loc("departure_minute") < 6


@pytest.fixture(scope="module")
def to_may(everything):
    """All real flights to May, and those of May held out."""
    labelled = data.labelled(data.up_to(everything, "2013-05"))
    return model.split(labelled.assign(**features.make(labelled)), 1)


@pytest.mark.parametrize(
    ("kind", "auc", "log_loss"), [("linear", 0.7164, 0.4817), ("boosted", 0.7469, 0.4678)]
)
def test_all_real_flights_give_the_known_scores(to_may, kind, auc, log_loss):
    earlier, later = to_may
    assert (len(earlier), len(later)) == (105_475, 28_128)
    found = model.evaluate(later[TARGET], model.score(model.train(kind, earlier, 42), later))
    assert found["auc"] == pytest.approx(auc, abs=0.003)
    assert found["log_loss"] == pytest.approx(log_loss, abs=0.003)
    assert found["calibration_error"] < 0.1
