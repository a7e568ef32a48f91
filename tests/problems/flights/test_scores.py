"""Test scores on constructed and real data, and the rules that compare models by them."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ml import data, scores
from problems.flights import PROBLEM as FLIGHTS

from tests.problems.flights.calls import (
    FEATURES,
    by_month,
    evaluate,
    importance,
    score,
    split,
    train,
)

GOOD = {"auc": 0.7, "log_loss": 0.5}
BETTER = {"auc": 0.7 + FLIGHTS.margin, "log_loss": 0.5}
ALMOST = {"auc": 0.7 + FLIGHTS.margin * 0.99, "log_loss": 0.5}
UNSURE = {"auc": 0.8, "log_loss": 0.5001}
Parts = tuple[pd.DataFrame, pd.DataFrame]


def test_calibration_error_exact_probabilities_is_zero():
    chance = np.repeat([0.0, 0.25, 0.5, 0.75, 1.0], 200)
    late = np.tile(np.arange(100) % 4, 10) < chance * 4
    assert scores.calibration_error(late, chance) == 0


@pytest.mark.parametrize(("predicted", "share"), [(0.5, 0.2), (0.1, 0.4), (1.0, 0.0)])
def test_calibration_error_is_distance_from_share(predicted, share):
    late = np.tile(np.arange(10) < share * 10, 10)
    error = scores.calibration_error(late, np.full(100, predicted))
    assert error == pytest.approx(abs(predicted - share))


def test_calibration_error_opposite_errors_add_up():
    chance = np.repeat([0.2, 0.8], 50)
    late = np.tile(np.arange(10) < 5, 10)
    assert scores.calibration_error(late, chance) == pytest.approx(0.3)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.booleans(), st.floats(0, 1)), min_size=1, max_size=40))
def test_calibration_error_any_rows_is_from_0_to_1(rows):
    late, chance = map(np.array, zip(*rows, strict=True))
    assert 0 <= scores.calibration_error(late, chance) <= 1


def test_evaluate_constructed_case_is_exact():
    late, chance = pd.Series([False, True, False, True]), np.array([0.1, 0.4, 0.5, 0.9])
    metrics = evaluate(late, chance)
    assert list(metrics) == ["auc", "log_loss", "brier", "calibration_error"]
    assert metrics["auc"] == 0.75
    assert metrics["brier"] == pytest.approx((0.01 + 0.36 + 0.25 + 0.01) / 4)
    assert metrics["log_loss"] == pytest.approx(-np.log([0.9, 0.4, 0.5, 0.9]).mean())


@pytest.mark.parametrize(
    ("candidate", "wins"), [(GOOD, False), (ALMOST, False), (BETTER, True), (UNSURE, False)]
)
def test_better_requires_margin_and_no_higher_log_loss(candidate, wins):
    assert scores.better(FLIGHTS, candidate, GOOD) == wins
    assert not scores.better(FLIGHTS, GOOD, candidate)
    assert scores.alias(FLIGHTS, candidate, GOOD) == ("champion" if wins else "challenger")
    assert scores.pick(FLIGHTS, {"boosted": candidate, "linear": GOOD}) == (
        "boosted" if wins else "linear"
    )


def test_alias_and_pick_single_model_is_accepted():
    assert scores.alias(FLIGHTS, {"auc": 0.4, "log_loss": 9.0}, None) == "champion"
    assert scores.pick(FLIGHTS, {"boosted": GOOD}) == "boosted"


def test_by_period_scores_each_month(parts, models):
    table = pd.concat(parts)
    chance = score(models["linear"], table)
    monthly = by_month(table, chance)
    assert list(monthly) == [f"2013-{number:02}" for number in range(1, 13)]
    march = (table["month"] == 3).to_numpy()
    assert monthly["2013-03"] == evaluate(table[march]["late"], chance[march])


def test_by_period_omits_month_without_late_flights(parts, models):
    table = pd.concat(parts)
    punctual = table[(table["month"] != 3) | ~table["late"]]
    assert "2013-03" not in by_month(punctual, score(models["linear"], punctual))


def test_importance_sorts_all_features(parts, models):
    values = importance(models["boosted"], parts[1], seed=1)
    assert sorted(values.index) == sorted(FEATURES)
    assert values.is_monotonic_decreasing
    assert values.index.get_loc("departure_minute") < 6


@pytest.fixture(scope="module")
def to_may(all_flights):
    """Return the real flights before May, and those of May as hold-out."""
    labelled = data.labelled(FLIGHTS, data.up_to(FLIGHTS, all_flights, "2013-05"))
    return split(labelled, 1)


@pytest.mark.parametrize(
    ("kind", "auc", "log_loss"), [("linear", 0.7164, 0.4817), ("boosted", 0.7469, 0.4678)]
)
def test_train_all_real_flights_gives_expected_scores(to_may, kind, auc, log_loss):
    earlier, later = to_may
    assert (len(earlier), len(later)) == (105_475, 28_128)
    metrics = evaluate(later["late"], score(train(kind, earlier, 42), later))
    assert metrics["auc"] == pytest.approx(auc, abs=0.003)
    assert metrics["log_loss"] == pytest.approx(log_loss, abs=0.003)
    assert metrics["calibration_error"] < 0.1
