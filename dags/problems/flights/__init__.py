"""Flights that left New York in 2013: which arrive more than 15 minutes late?"""

import os

from ml.problem import Limits, Problem

PROBLEM = Problem(
    module=__name__,
    name="flight-delay",
    kind="binary",
    target="late",
    functions="problems.flights.table",
    features="problems.flights.features",
    rows="flights",
    setting="DATASET_URI",
    dags={role: f"{role}_pipeline" for role in ("training", "monitoring", "scoring")},
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
    # Airports and carriers named NA exist.
    text=("carrier", "origin", "dest"),
    metric="auc",
    margin=0.005,
    limits=Limits(column=0.2, share=0.25, decay=0.03, labelled=0.5),
)
