"""Estimators for each kind of problem: a linear model, and gradient boosting of trees.

A problem with its own estimators returns functions like these from `models()`: they take the kind,
the seed, and the names of the numeric and categorical features.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from sklearn.compose import ColumnTransformer
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import OneHotEncoder, OrdinalEncoder, StandardScaler

Build = Callable[[str, int, Sequence[str], Sequence[str]], Pipeline]
# The trees accept at most 255 categories in a column. Rare ones share the last.
MAX_CATEGORIES = 250


def linear(kind: str, seed: int, numbers: Sequence[str], categories: Sequence[str]) -> Pipeline:
    """Return an untrained logistic or ridge regression."""
    encoder = OneHotEncoder(handle_unknown="ignore", max_categories=MAX_CATEGORIES)
    scaled = make_pipeline(SimpleImputer(), StandardScaler())
    model = Ridge() if kind == "regression" else LogisticRegression(max_iter=300, random_state=seed)
    return make_pipeline(prepared(numbers, categories, scaled, encoder), model)


def boosted(
    kind: str, seed: int, numbers: Sequence[str], categories: Sequence[str], **options: Any
) -> Pipeline:
    """Return an untrained gradient boosting of trees. `options` are those of scikit-learn."""
    encoder = OrdinalEncoder(
        handle_unknown="use_encoded_value", unknown_value=-1, max_categories=MAX_CATEGORIES
    )
    regressor, classifier = HistGradientBoostingRegressor, HistGradientBoostingClassifier
    boosting = regressor if kind == "regression" else classifier
    # The encoded categories are the first columns.
    first = list(range(len(categories))) or None
    trees = boosting(categorical_features=first, random_state=seed, **options)
    return make_pipeline(prepared(numbers, categories, "passthrough", encoder), trees)


def prepared(
    numbers: Sequence[str], categories: Sequence[str], scaled: Any, encoder: Any
) -> ColumnTransformer:
    """Return a transformer that encodes the categories and scales the numbers."""
    steps = [("categories", encoder, list(categories)), ("numbers", scaled, list(numbers))]
    return ColumnTransformer([step for step in steps if step[2]])


STANDARD: Mapping[str, Build] = {"linear": linear, "boosted": boosted}
