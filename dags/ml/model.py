"""Models, a hold-out that lies later in time, their scores, and the rule that picks."""

from collections.abc import Callable, Mapping

import numpy as np
import pandas as pd
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.impute import SimpleImputer
from sklearn.inspection import permutation_importance
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import brier_score_loss, log_loss, roc_auc_score
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, OrdinalEncoder, StandardScaler

from ml import Refused
from ml.carried import features_of_its_own
from ml.data import TARGET
from ml.features import CATEGORIES, FEATURES, INPUTS, NUMBERS

AUC_MARGIN = 0.005
"""How much more AUC makes one model better than another on the same hold-out."""
CALIBRATION_BINS = 10

Metrics = dict[str, float]


def split(table: pd.DataFrame, holdout_months: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return (earlier, later): later are the last `holdout_months`, at most a third of the days.

    A random split would let a model see the very days it is asked about. Raises Refused
    when either part would lack late or punctual flights.
    """
    if table.empty:
        raise Refused("nothing to train on: no flight has arrived")
    date = table["date"]
    month = date.dt.to_period("M").max() - (holdout_months - 1)
    two_thirds = date.min() + (date.max() - date.min()) * 2 / 3
    later = date >= max(month.start_time, two_thirds.ceil("D"))
    for name, part in (("train on", table[~later]), ("hold out", table[later])):
        if part[TARGET].nunique() < 2:
            raise Refused(f"nothing to {name}: needs late and punctual flights, has {len(part)}")
    return table[~later], table[later]


def linear(seed: int, numbers: list[str]) -> Pipeline:
    """Return an untrained logistic regression: the baseline that anything else has to beat."""
    scaled = make_pipeline(SimpleImputer(), StandardScaler())
    encoder = OneHotEncoder(handle_unknown="ignore")
    logistic = LogisticRegression(max_iter=300, random_state=seed)
    return make_pipeline(_columns(encoder, scaled, numbers), logistic)


def boosted(seed: int, numbers: list[str]) -> Pipeline:
    """Return an untrained gradient boosting of trees (HistGradientBoostingClassifier).

    Small trees and a low rate, chosen by training on January-June and looking at July-September.
    """
    # The trees take at most 255 categories a column; rare ones share the last.
    encoder = OrdinalEncoder(
        handle_unknown="use_encoded_value", unknown_value=-1, max_categories=250
    )
    trees = HistGradientBoostingClassifier(
        categorical_features=list(range(len(CATEGORIES))),
        learning_rate=0.05,
        max_leaf_nodes=15,
        min_samples_leaf=200,
        random_state=seed,
    )
    return make_pipeline(_columns(encoder, "passthrough", numbers), trees)


KINDS: Mapping[str, Callable[[int, list[str]], Pipeline]] = {"linear": linear, "boosted": boosted}
"""Every model that is trained, from its seed and the numeric features, the simplest first."""


def train(kind: str, table: pd.DataFrame, seed: int) -> Pipeline:
    """Train a model of KINDS; it takes raw flights (INPUTS) and makes its features itself."""
    # Weather is optional: a column without any value teaches nothing, and the trees refuse it.
    numbers = [name for name in NUMBERS if table[name].notna().any()]
    fitted = KINDS[kind](seed, numbers).fit(table[FEATURES], table[TARGET])
    return make_pipeline(FunctionTransformer(features_of_its_own().make), fitted)


def score(model: Pipeline, flights: pd.DataFrame) -> np.ndarray:
    """Return each flight's probability of being late.

    Raises Refused when the flights lack a column the model needs.
    """
    try:
        return model.predict_proba(flights[[name for name in INPUTS if name in flights]])[:, 1]
    except KeyError as error:
        raise Refused(f"a model that needs {error} cannot score these flights") from error


def as_seen(model: Pipeline, flights: pd.DataFrame) -> pd.DataFrame:
    """Return what the model makes of raw flights: its own features, and its `prediction`."""
    chance = score(model, flights)
    return model[0].transform(flights).assign(prediction=chance)


def evaluate(late: pd.Series, chance: np.ndarray) -> Metrics:
    """Return auc (more is better), log_loss, brier and calibration_error (less is better)."""
    return {
        "auc": float(roc_auc_score(late, chance)),
        "log_loss": float(log_loss(late, chance)),
        "brier": float(brier_score_loss(late, chance)),
        "calibration_error": calibration_error(late.to_numpy(), chance),
    }


def calibration_error(late: np.ndarray, chance: np.ndarray) -> float:
    """Expected calibration error over CALIBRATION_BINS bins of about equal size, from 0 to 1.

    The mean distance between the promised and the observed share (Naeini et al., AAAI 2015, there
    with bins of equal width).
    """
    # Equal chances fall into one bin, whatever the order of the rows.
    edges = np.unique(np.quantile(chance, np.linspace(0, 1, CALIBRATION_BINS + 1)))[1:-1]
    bins = np.searchsorted(edges, chance, side="right")
    gaps = [abs((chance[bins == one] - late[bins == one]).sum()) for one in np.unique(bins)]
    return float(sum(gaps) / len(chance))


def by_month(table: pd.DataFrame, chance: np.ndarray) -> dict[str, Metrics]:
    """Return `evaluate` for each month of `table` that holds late and punctual flights."""
    months = table.assign(chance=chance).groupby(table["date"].dt.strftime("%Y-%m"))
    return {
        month: evaluate(part[TARGET], part["chance"].to_numpy())
        for month, part in months
        if part[TARGET].nunique() == 2
    }


def importance(model: Pipeline, table: pd.DataFrame, seed: int, rows: int = 4000) -> pd.Series:
    """Return how much AUC each feature is worth, the most first: what is lost by shuffling it.

    On `rows` flights at most, as time grows with them (Breiman, Machine Learning 2001).
    """
    some = table.sample(min(rows, len(table)), random_state=seed)
    lost = permutation_importance(
        model[-1], some[FEATURES], some[TARGET], scoring="roc_auc", n_repeats=3, random_state=seed
    )
    return pd.Series(lost.importances_mean, FEATURES).sort_values(ascending=False)


def better(one: Metrics, other: Metrics) -> bool:
    """Whether `one` is better: AUC_MARGIN more AUC and no more log loss, on the same flights."""
    return one["auc"] >= other["auc"] + AUC_MARGIN and one["log_loss"] <= other["log_loss"]


def pick(scores: Mapping[str, Metrics]) -> str:
    """Return the kind to go on with: the simplest that no other one beats by the margin."""
    chosen, *others = [kind for kind in KINDS if kind in scores]
    for kind in others:
        chosen = kind if better(scores[kind], scores[chosen]) else chosen
    return chosen


def alias(candidate: Metrics, champion: Metrics | None) -> str:
    """Return what the candidate becomes: champion if better or the first, else challenger."""
    return "champion" if champion is None or better(candidate, champion) else "challenger"


def _columns(
    encoder: OneHotEncoder | OrdinalEncoder, prepared: Pipeline | str, numbers: list[str]
) -> ColumnTransformer:
    return ColumnTransformer([("categories", encoder, CATEGORIES), ("numbers", prepared, numbers)])
