import numpy as np
import pandas as pd
import pytest
from ml import Refused, model
from ml.features import FEATURES, TARGET

GOOD = {"auc": 0.7, "log_loss": 0.5, "brier": 0.16}


def test_later_months_are_held_out(table: pd.DataFrame) -> None:
    earlier, later = model.split(table, 3)
    assert earlier["date"].max() < pd.Timestamp("2013-10-01") <= later["date"].min()
    assert len(earlier) + len(later) == len(table)


def test_split_needs_both_outcomes_on_both_sides(table: pd.DataFrame) -> None:
    with pytest.raises(Refused, match="train on"):
        model.split(table, 12)
    with pytest.raises(Refused, match="hold out"):
        model.split(table[(table["date"] < "2013-12-01") | ~table[TARGET]], 1)


def test_same_seed_same_model(table: pd.DataFrame) -> None:
    once, twice = (model.train(table, seed=7, holdout_months=3)[1] for _ in range(2))
    assert once == twice


def test_seed_reaches_the_candidate(table: pd.DataFrame) -> None:
    # Above 10,000 rows the trees stop early on a random part, which is what the seed draws.
    many = pd.concat([table, table])
    chances = [
        model.fit(model.candidate(seed), many).predict_proba(table[FEATURES])[:, 1]
        for seed in (1, 2)
    ]
    assert not np.array_equal(*chances)


def test_both_models_learn_something(table: pd.DataFrame) -> None:
    metrics = model.train(table, seed=7, holdout_months=3)[1]
    assert all(0.55 < one["auc"] < 0.75 for one in metrics.values())
    assert all(0 < one["brier"] < one["log_loss"] < 0.7 for one in metrics.values())


def test_metrics_of_shuffled_labels_are_chance(table: pd.DataFrame) -> None:
    labels = table[TARGET].sample(frac=1, random_state=1).to_numpy()
    metrics = model.train(table.assign(**{TARGET: labels}), seed=7, holdout_months=3)[1]
    assert abs(metrics["candidate"]["auc"] - 0.5) < 0.05


def test_unknown_airport_is_scored(table: pd.DataFrame) -> None:
    new = table.head(2).assign(dest="XYZ", carrier="ZZ")[FEATURES]
    for untrained in (model.baseline(1), model.candidate(1)):
        assert np.isfinite(model.fit(untrained, table).predict_proba(new)).all()


@pytest.mark.parametrize(
    ("champion", "alias"), [(None, "champion"), (0.69, "champion"), (0.7, "challenger")]
)
def test_alias_goes_by_the_champion(champion: float | None, alias: str) -> None:
    holder = None if champion is None else {**GOOD, "auc": champion}
    assert model.judge(GOOD, {**GOOD, "auc": 0.6}, holder) == alias


def test_too_close_to_the_baseline_is_refused() -> None:
    close = {**GOOD, "auc": GOOD["auc"] - model.AUC_MARGIN / 2}
    with pytest.raises(Refused, match=r"needs baseline 0\.6990 \+ 0\.002$"):
        model.judge(GOOD, close, None)
