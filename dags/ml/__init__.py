"""Train, monitor and score models of any problem, as plain functions.

`problems/` describes the problems: see `ml.problem`. Nothing here imports Airflow, and only
`tracking` and `registry` import MLflow.
"""


class Refused(ValueError):
    """Data or model is not good enough. The same input would be refused again: do not retry."""


class NothingToDo(Exception):
    """There is nothing to do now, which is no fault: skip the task and those after it."""
