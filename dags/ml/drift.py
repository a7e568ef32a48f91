"""Measure how far a period's rows are from those the champion was trained on, with Evidently."""

import os
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

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

    def _is_past(self, name: str) -> bool:
        return self.by_column[name] >= self.limits.columns.get(name, self.limits.column)

    @property
    def columns(self) -> list[str]:
        """The columns that have drifted, the furthest first, without the seasonal ones."""
        past = [name for name in self._counted if self._is_past(name)]
        return sorted(past, key=self.by_column.__getitem__, reverse=True)

    @property
    def seasonal(self) -> list[str]:
        """The seasonal columns that have changed."""
        return [name for name in self.by_column if self._is_seasonal(name) and self._is_past(name)]

    @property
    def share(self) -> float:
        """The share of the counted columns that have drifted."""
        return len(self.columns) / len(self._counted) if self._counted else 0.0

    @property
    def past_threshold(self) -> bool:
        """Whether the period as a whole has drifted."""
        return self.share >= self.limits.share

    @property
    def _counted(self) -> list[str]:
        return [name for name in self.by_column if not self._is_seasonal(name)]

    def _is_seasonal(self, name: str) -> bool:
        return name in self.limits.seasonal


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
    return Drift({**values, **gone}, page, measured.json(), limits)


def sample(table: pd.DataFrame, seed: int) -> pd.DataFrame:
    """Return at most REFERENCE_ROWS rows: what a model keeps of the rows it was trained on."""
    return table.sample(min(REFERENCE_ROWS, len(table)), random_state=seed)


def newer(period: str, known: str, requested: Collection[str | None]) -> bool:
    """Return whether a model should be trained because of a period.

    Not for a period that the champion's data already contains (`known`), and once for each period
    (`requested`): its rows do not change, so a second training would not change the drift.
    """
    return period > known and period not in requested


def is_worth_training(result: Mapping[str, Any], requested: Collection[str | None]) -> bool:
    """Return whether the result of `monitoring.measure_drift` should start a training."""
    return result["past_threshold"] and newer(result["period"], result["until"], requested)
