"""Assets through which the pipelines of a problem start each other.

The `extra` of an event has its period.
"""

from airflow.sdk import Asset
from ml.problem import Problem


def champion(problem: Problem) -> Asset:
    """Return the asset that is updated when the alias `champion` moves."""
    return Asset(name=f"{problem.name}-champion", group="models")


def drift(problem: Problem) -> Asset:
    """Return the asset that is updated once for each period whose drift reaches the threshold."""
    return Asset(name=f"{problem.name}-drift", group="data")
