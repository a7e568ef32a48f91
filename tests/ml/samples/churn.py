"""Which customers will leave? Binary, compared month by month."""

from ml.problem import Limits, Problem

PROBLEM = Problem(
    module=__name__,
    name="churn",
    kind="binary",
    target="left",
    rows="customers",
    time="day",
    period="month",
    first="2024-02",
    last="2024-12",
    inputs=("plan", "usage", "calls"),
    metric="auc",
    margin=0.005,
    limits=Limits(share=0.25),
)
ROWS = 2400


def schema():
    import pandera.pandas as pa

    return pa.DataFrameSchema(
        {
            "day": pa.Column("datetime64[ns]"),
            "plan": pa.Column(str),
            "usage": pa.Column(float, pa.Check.ge(0), nullable=True, required=False),
            "calls": pa.Column(float, pa.Check.in_range(0, 100)),
            "left": pa.Column("str", nullable=True),
        },
        coerce=True,
        strict="filter",
    )


def sample():
    import numpy as np
    import pandas as pd

    random = np.random.default_rng(1)
    day = pd.date_range("2024-01-01", "2024-12-31", periods=ROWS).normalize()
    plan = random.choice(["basic", "plus", "pro"], ROWS)
    calls = random.poisson(3, ROWS).astype(float)
    # Usage grows over the year, which is drift.
    usage = random.gamma(4, 10, ROWS) * (1 + day.month.to_numpy() / 4)
    chance = 1 / (1 + np.exp(-(calls - 3) - (plan == "basic")))
    left = np.where(random.random(ROWS) < chance, "yes", "no")
    return pd.DataFrame(
        {"day": day, "plan": plan, "usage": usage, "calls": calls, "left": left, "note": "ignored"}
    )
