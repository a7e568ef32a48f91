"""Compare the rows of a period with those the champion was trained on, with Evidently."""

import os
from collections.abc import Collection
from dataclasses import dataclass, field

import pandas as pd

from ml.problem import Limits

METHOD = "psi"
"""Population stability index, 0 and more."""
REFERENCE_ROWS = 20_000
GONE = 10.0
"""The value for a column that has values on one side only: far, and finite as JSON requires."""


@dataclass(frozen=True)
class Drift:
    """How far one period is from the reference: `by_column` in METHOD's unit, and the reports."""

    by_column: dict[str, float]
    html: str
    json: str
    limits: Limits = field(default_factory=Limits)
    # The value to expect from few rows without any drift.
    chance: float = 0.0

    @property
    def columns(self) -> list[str]:
        """The columns that have drifted, the furthest first, without the seasonal ones."""
        return [name for name in self._past() if name not in self.limits.seasonal]

    @property
    def seasonal(self) -> list[str]:
        """The seasonal columns that have changed, the furthest first."""
        return [name for name in self._past() if name in self.limits.seasonal]

    @property
    def share(self) -> float:
        """The share of the counted columns that have drifted."""
        counted = self.by_column.keys() - {*self.limits.seasonal}
        return len(self.columns) / len(counted) if counted else 0.0

    @property
    def past_threshold(self) -> bool:
        """Whether the period as a whole has drifted."""
        return self.share >= self.limits.share

    def _past(self) -> list[str]:
        limits = self.limits
        past = [name for name, value in self.by_column.items()
                if value >= limits.columns.get(name, limits.column) + self.chance]  # fmt: skip
        return sorted(past, key=self.by_column.__getitem__, reverse=True)


def compare(reference: pd.DataFrame, current: pd.DataFrame, limits: Limits) -> Drift:
    """Compare the columns of two tables with at least one row each.

    A column without values on one side is GONE. A column without values on both is left out.
    """
    # Evidently reads this while it is imported. Otherwise it would send usage data.
    os.environ["DO_NOT_TRACK"] = "1"
    from evidently import DataDefinition, Dataset, Report
    from evidently.presets import DataDriftPreset

    filled = [set(table.columns[table.notna().any()]) for table in (reference, current)]
    both = [name for name in reference if name in filled[0] & filled[1]]
    gone = {name: GONE for name in reference if name in filled[0] ^ filled[1]}
    numbers = list(reference[both].select_dtypes("number"))
    categories = [name for name in both if name not in numbers]
    kinds = DataDefinition(numerical_columns=numbers, categorical_columns=categories)
    # The report marks columns with the general limit.
    thresholds = {"threshold": limits.column, "drift_share": limits.share}
    preset = DataDriftPreset(columns=both, method=METHOD, **thresholds)
    tables = (Dataset.from_pandas(table[both], kinds) for table in (current, reference))
    measured = Report([preset]).run(*tables)
    values = {
        metric["config"]["column"]: float(metric["value"])
        for metric in measured.dict()["metrics"]
        if "column" in metric["config"]
    }
    page = measured.get_html_str(as_iframe=False)
    # Yurdakul, Statistical Properties of Population Stability Index, 2018, for ten bins.
    chance = 9 * (1 / len(reference) + 1 / len(current))
    return Drift({**values, **gone}, page, measured.json(), limits, chance)


def sample(table: pd.DataFrame, seed: int) -> pd.DataFrame:
    """Return at most REFERENCE_ROWS rows: what a model keeps of the rows it was trained on."""
    return table.sample(min(REFERENCE_ROWS, len(table)), random_state=seed)


def newer(period: str, known: str, requested: Collection[str | None]) -> bool:
    """Return whether a model should be trained because a period has drifted.

    Not for a period that the champion's data already contains (`known`), and once for each period
    (`requested`): its rows do not change, so a second training would not change the drift.
    """
    return period > known and period not in requested
