"""Which species is a plant? Three classes, without time: each file is a batch."""

from ml.problem import Problem

PROBLEM = Problem(
    module=__name__,
    name="plants",
    kind="multiclass",
    target="species",
    rows="plants",
    holdout=20,
    inputs=("length", "width", "soil"),
)
ROWS = 900


def schema():
    import pandera.pandas as pa

    size = pa.Check.in_range(0, 50)
    return pa.DataFrameSchema(
        {
            "length": pa.Column(float, size),
            "width": pa.Column(float, size, nullable=True),
            "soil": pa.Column(str),
            "species": pa.Column("str", nullable=True),
        },
        coerce=True,
        strict="filter",
    )


def sample():
    import numpy as np
    import pandas as pd

    random = np.random.default_rng(3)
    kind = random.integers(0, 3, ROWS)
    return pd.DataFrame(
        {
            "length": random.normal(5 + 3 * kind, 1.5).clip(0, 50),
            "width": random.normal(4 - kind, 0.8).clip(0, 50),
            "soil": random.choice(["clay", "sand"], ROWS),
            "species": np.array(["fern", "moss", "rose"])[kind],
            "_batch": np.where(np.arange(ROWS) < 600, "2024-1.csv", "2024-2.csv"),
        }
    )
