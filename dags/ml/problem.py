"""The description of a problem: its table, target, time, models, and limits of drift.

DAG files import descriptions each time they are parsed, so this module imports nothing large, and a
description imports its libraries inside its functions.
"""

import importlib
import os
import pkgutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

FOLDER = Path(__file__).parents[1] / "problems"
PATTERNS = {"month": r"\d{4}-(0[1-9]|1[0-2])", "week": r"\d{4}-\d{2}-\d{2}"}
PATTERNS |= {"day": PATTERNS["week"], "batch": r"[^/\\]+"}


@dataclass(frozen=True)
class Limits:
    """When a column or a period has drifted, and when a champion has decayed."""

    column: float = 0.2
    """Population stability index from which a column has drifted (Siddiqi, Credit Risk
    Scorecards, 2006)."""
    columns: Mapping[str, float] = field(default_factory=dict)
    """Other limits, by column."""
    seasonal: Sequence[str] = ()
    """Columns that change with the season or the time of day. They are reported, not counted."""
    share: float = 0.25
    """The share of the counted columns that must have drifted for the period to have."""
    loss: float = 0.03
    """How much worse than on its hold-out a champion must be to have decayed. For RMSE, MAE and
    log loss, this is a share of the value on the hold-out."""
    labelled: float = 0.5
    """The share of a period's rows that must have a label before performance is measured."""


@dataclass(frozen=True)
class Problem:
    """What the pipelines need to know of a problem. The module of the description has functions.

    Required: `schema()` returns the pandera schema of valid rows. Optional: `sample()` returns rows
    if there is no source, `label(rows)` returns the rows with a known target, with that target,
    `row_rules()` returns checks of whole rows by name, `finish(rows)` returns the checked rows in
    their final types, `models()` returns estimators by name; see `ml.estimators`.
    """

    module: str
    """The module of the description: `__name__`."""
    name: str
    """The name of the registered model and the training experiment."""
    kind: Literal["binary", "multiclass", "regression"]
    target: str
    """The column to predict."""
    rows: str = "rows"
    """What a row is, in plural, for messages."""
    source: str = ""
    """Path or s3:// address of a CSV or Parquet file, or of a folder of such files. The setting
    `setting` takes precedence."""
    setting: str = ""
    dags: Mapping[str, str] = field(default_factory=dict)
    """Names of the DAGs `training`, `monitoring` and `scoring`, if not NAME_training etc."""
    time: str | Sequence[str] = ()
    """The column with the time of a row, or columns named year, month and day. Without one, each
    file of the source is one batch."""
    period: Literal["month", "week", "day"] = "month"
    """The periods that monitoring compares."""
    first: str = ""
    """The first period to monitor on schedule: the first after a champion can exist."""
    last: str = ""
    """The last one, if the data ends."""
    holdout: int = 1
    """How many of the last periods are held out; without time, how many percent of the rows."""
    inputs: Sequence[str] = ()
    """The columns that are known when a prediction is needed."""
    features: str = ""
    """A module with features of its own, if not those of `ml.features`."""
    text: Sequence[str] = ()
    """Columns in which values such as NA are not missing values."""
    models: Sequence[str] = ("linear", "boosted")
    """The kinds of model to train, the simplest first."""
    trusted: Sequence[str] = ()
    """Types in the models' files of libraries other than scikit-learn and NumPy."""
    packages: Sequence[str] = ()
    """Packages that are needed to load the models, besides scikit-learn, skops and pandas."""
    metric: str = ""
    """The metric that decides, if not the usual one of the kind."""
    margin: float = 0.005
    """How much better a model must be to replace another; a share as in `Limits.loss`."""
    limits: Limits = field(default_factory=Limits)

    @property
    def monitoring(self) -> str:
        """The experiment of the monitored periods."""
        return f"{self.name}-monitoring"

    @property
    def unit(self) -> str:
        """What is monitored at a time: month, week, day or batch."""
        return self.period if self.time else "batch"

    @property
    def setting_name(self) -> str:
        """The environment variable with another source."""
        return self.setting or f"DATASET_URI_{self.name.upper().replace('-', '_')}"

    @property
    def uri(self) -> str:
        """Where the rows are, or blank for the sample."""
        return absolute(os.environ.get(self.setting_name) or self.source)

    @property
    def time_columns(self) -> list[str]:
        """The columns that contain the time of a row."""
        return [self.time] if isinstance(self.time, str) else list(self.time)

    def dag(self, role: str) -> str:
        """Return the name of the DAG that does the training, monitoring or scoring."""
        return self.dags.get(role) or f"{self.name.replace('-', '_')}_{role}"

    def function(self, name: str, default: Any = None) -> Any:
        """Return a function of the description's module."""
        return getattr(importlib.import_module(self.module), name, default)

    def schema(self) -> Any:
        """Return the pandera schema of valid rows."""
        schema: Callable[[], Any] = self.function("schema")
        return schema()


def absolute(uri: str) -> str:
    """Return an address, or a path relative to the parent of the DAGs folder, as absolute."""
    return uri if not uri or "://" in uri else str(FOLDER.parents[1] / uri)


def names() -> list[str]:
    """Return the names of the modules in `problems/`, sorted."""
    return sorted(one.name for one in pkgutil.iter_modules([str(FOLDER)]))


def load(module: str) -> Problem:
    """Return the description in a module of `problems/`."""
    found: Problem = importlib.import_module(f"problems.{module}").PROBLEM
    return found
