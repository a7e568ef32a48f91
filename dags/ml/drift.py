"""Drift: how far a month's flights are from those the champion was trained on, by Evidently.

The thresholds stand here and nowhere else.
"""

import os
from collections.abc import Collection
from dataclasses import dataclass

import pandas as pd

METHOD = "psi"
"""Population stability index, 0 and up: from 0.2 on a column has shifted (Siddiqi, Credit Risk
Scorecards, 2006)."""
COLUMN_THRESHOLD = 0.2
SHARE_THRESHOLD = 0.25
"""The share of the columns that must have drifted for the month to have."""
AUC_LOSS_THRESHOLD = 0.03
"""How much less AUC than on its hold-out makes a champion's month worth an alert."""
LABELLED_THRESHOLD = 0.5
"""The share of a month's flights that must have arrived before its performance is judged."""
REFERENCE_ROWS = 20_000
GONE = 10.0
"""Stands for METHOD's value where only one side has any: far, and finite as JSON wants it."""


@dataclass(frozen=True)
class Drift:
    """How far one month is from the reference: `by_column` in METHOD's unit, and the reports."""

    by_column: dict[str, float]
    html: str
    json: str

    @property
    def columns(self) -> list[str]:
        """The columns past COLUMN_THRESHOLD, the furthest first."""
        past = [name for name, value in self.by_column.items() if value >= COLUMN_THRESHOLD]
        return sorted(past, key=self.by_column.__getitem__, reverse=True)

    @property
    def share(self) -> float:
        """The share of the columns that have drifted."""
        return len(self.columns) / len(self.by_column)

    @property
    def past_threshold(self) -> bool:
        """Whether the month as a whole has drifted."""
        return self.share >= SHARE_THRESHOLD


def compare(reference: pd.DataFrame, current: pd.DataFrame) -> Drift:
    """Compare the columns of `reference` with those of `current`, both with at least one row.

    A column without values on one side is as far away as can be; on both it is left out.
    """
    # It would report its use to its makers; read while it is imported.
    os.environ["DO_NOT_TRACK"] = "1"
    from evidently import DataDefinition, Dataset, Report
    from evidently.presets import DataDriftPreset

    filled = [set(table.columns[table.notna().any()]) for table in (reference, current)]
    both_have = [name for name in reference if name in filled[0] & filled[1]]
    gone = {name: GONE for name in reference if name in filled[0] ^ filled[1]}
    numbers = list(reference[both_have].select_dtypes("number"))
    categories = [name for name in both_have if name not in numbers]
    kinds = DataDefinition(numerical_columns=numbers, categorical_columns=categories)
    limits = {"threshold": COLUMN_THRESHOLD, "drift_share": SHARE_THRESHOLD}
    preset = DataDriftPreset(columns=both_have, method=METHOD, **limits)
    tables = (Dataset.from_pandas(table[both_have], kinds) for table in (current, reference))
    measured = Report([preset]).run(*tables)
    values = {
        metric["config"]["column"]: float(metric["value"])
        for metric in measured.dict()["metrics"]
        if "column" in metric["config"]
    }
    return Drift({**values, **gone}, measured.get_html_str(as_iframe=False), measured.json())


def decayed(auc: float, holdout_auc: float) -> bool:
    """Whether a month's AUC is AUC_LOSS_THRESHOLD or more below the one on the hold-out."""
    return auc <= holdout_auc - AUC_LOSS_THRESHOLD


def sample(table: pd.DataFrame, seed: int) -> pd.DataFrame:
    """Return at most REFERENCE_ROWS rows: what a model keeps of the flights it was trained on."""
    return table.sample(min(REFERENCE_ROWS, len(table)), random_state=seed)


def newer(month: str, known: str, asked: Collection[str]) -> bool:
    """Whether a model should be trained because of `month`.

    Not for a month the champion's data already reaches (`known`), and once for each month only
    (`asked`): a month stays as it is, so training for it again would ask again, for ever.
    """
    return month > known and month not in asked
