"""How many parcels will be sent on a day? Regression, compared week by week."""

from ml.problem import Limits, Problem

PROBLEM = Problem(
    module=__name__,
    name="parcel-demand",
    kind="regression",
    target="parcels",
    rows="days",
    time="date",
    period="week",
    holdout=2,
    inputs=("date", "depot", "price"),
    models=("linear", "bayesian"),
    limits=Limits(decay=0.1, seasonal=("date_month",)),
)
ROWS = 1400


def schema():
    import pandera.pandas as pa

    return pa.DataFrameSchema(
        {
            "date": pa.Column("datetime64[ns]"),
            "depot": pa.Column(str),
            "price": pa.Column(float, pa.Check.ge(0)),
            "parcels": pa.Column(float, nullable=True),
        },
        coerce=True,
        strict="filter",
    )


def sample():
    import numpy as np
    import pandas as pd

    random = np.random.default_rng(2)
    date = pd.date_range("2024-01-01", periods=ROWS // 10, freq="D").repeat(10)
    depot = random.choice(["north", "south"], ROWS)
    price = random.uniform(3, 9, ROWS)
    weekday = date.dayofweek.to_numpy()
    parcels = 200 - 10 * price + 30 * (depot == "north") - 20 * (weekday > 4)
    noise = random.normal(0, 5, ROWS)
    return pd.DataFrame({"date": date, "depot": depot, "price": price, "parcels": parcels + noise})


def models():
    from ml import estimators
    from sklearn.linear_model import BayesianRidge
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder

    def bayesian(kind, seed, numbers, categories):
        encoder = OneHotEncoder(sparse_output=False)
        return make_pipeline(
            estimators.prepared(numbers, categories, "passthrough", encoder), BayesianRidge()
        )

    return {"linear": estimators.linear, "bayesian": bayesian}
