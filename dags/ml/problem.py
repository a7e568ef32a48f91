"""The description of a problem: its table, target, time, models, and limits of drift.

Airflow imports the descriptions each time it parses DAG files. So this module imports nothing
large, and a description imports its libraries inside its functions, or in a module of their own.
"""

import importlib
import os
import pkgutil
import re
from collections.abc import Mapping, Sequence
from dataclasses import field
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

FOLDER = Path(__file__).parents[1] / "problems"
MONTH = r"\d{4}-(0[1-9]|1[0-2])"
DATE = rf"{MONTH}-(0[1-9]|[12]\d|3[01])"
NAME = "[a-z][a-z0-9-]{0,49}"
PATTERNS = {"month": MONTH, "week": DATE, "day": DATE, "batch": r"[^/\\]+"}
CONFIG = ConfigDict(extra="forbid")


@dataclass(frozen=True, config=CONFIG)
class Limits:
    """When a column or a period has drifted, and when a champion has decayed."""

    column: float = 0.2
    """Population stability index (Siddiqi 2006) of a drifted column, in addition to chance."""
    columns: Mapping[str, float] = field(default_factory=dict)
    """Other limits, by column."""
    seasonal: Sequence[str] = ()
    """Columns that change with the season or the time of day. They are reported, not counted."""
    share: Annotated[float, Field(gt=0, le=1)] = 0.25
    """The share of the counted columns that must have drifted for the period to have drifted."""
    decay: float = 0.03
    """How much worse than on its hold-out a champion's metric may become. For RMSE, MAE and log
    loss, this is a share of the value on the hold-out."""
    labelled: Annotated[float, Field(gt=0, le=1)] = 0.5
    """The share of a period's rows that must have a label before performance is measured."""


@dataclass(frozen=True, config=CONFIG)
class Problem:
    """Describe a problem to the pipelines. Raises ValidationError for invalid fields.

    Its module has functions too. `schema()` is required and returns the pandera schema of valid
    rows. The others are optional:

    - `sample()` returns rows if there is no source.
    - `label(rows)` returns the rows with a known target, with that target.
    - `row_rules()` returns checks of whole rows by name.
    - `models()` returns estimators by name; see `ml.estimators`.
    """

    module: str
    """The module of the description: `__name__`."""
    name: Annotated[str, Field(pattern=f"^{NAME}$")]
    """The name of the registered model and of the experiment of the trainings."""
    kind: Literal["binary", "multiclass", "regression"]
    target: str
    """The column to predict."""
    inputs: Annotated[Sequence[str], Field(min_length=1)]
    """The columns that are known when a prediction is needed."""
    functions: str = ""
    """The module with the functions, if it is not `module`."""
    rows: str = "rows"
    """What a row is, in plural, for messages."""
    source: str = ""
    """Path or s3:// address of a CSV or Parquet file, or of a folder of such files. The setting
    `setting` takes precedence."""
    setting: str = ""
    """The name of that setting, if it is not DATASET_URI_NAME."""
    dags: Mapping[str, str] = field(default_factory=dict)
    """Names of the DAGs `training`, `monitoring` and `scoring`, if not NAME_training etc."""
    time: str | Sequence[str] = ()
    """The column with the time of a row, or columns named year, month and day. Without one, each
    file of the source is one batch."""
    period: Literal["month", "week", "day"] = "month"
    """What monitoring compares. A week is named by its Monday, such as 2013-05-06."""
    first: str = ""
    """The first period to monitor on schedule: the first after a champion can exist."""
    last: str = ""
    """The last one, if the data ends."""
    holdout: Annotated[int, Field(ge=1, le=50)] = 1
    """Last periods to hold out, at most a third of the time; without time, percent of the rows."""
    features: str = ""
    """The module with the problem's own features, if they are not those of `ml.features`."""
    text: Sequence[str] = ()
    """Columns in which values such as NA are not missing values."""
    models: Annotated[Sequence[str], Field(min_length=1)] = ("linear", "boosted")
    """The names of the models to train, the simplest first."""
    trusted: Sequence[str] = ()
    """Types in the models' files of libraries other than scikit-learn and NumPy."""
    packages: Sequence[str] = ()
    """Packages that are needed to load the models, besides scikit-learn, skops and pandas."""
    metric: str = ""
    """The metric that decides, if not AUC, log loss (multi-class) or RMSE."""
    margin: float = 0.005
    """How much better a model must be to win, a share as in `Limits.decay`; see `scores.better`."""
    limits: Limits = field(default_factory=Limits)
    advice: str = ""
    """The last line of alerts, such as what to do first."""

    def __post_init__(self) -> None:
        """Raise ValueError if fields contradict each other."""
        periods = [period for period in (self.first, self.last) if period]
        if self.target in self.inputs or len(set(self.inputs)) < len(self.inputs):
            raise ValueError("inputs contains the target or a repeated column")
        if not all(re.fullmatch(PATTERNS[self.unit], period) for period in periods):
            raise ValueError(f"first or last is not a {self.unit}")
        if sorted(periods) != periods:
            raise ValueError("last is before first")

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

    def dag(self, role: str) -> str:
        """Return the id of the DAG for training, monitoring or scoring."""
        return self.dags.get(role) or f"{self.name.replace('-', '_')}_{role}"

    def function(self, name: str, default: Any = None) -> Any:
        """Return a function of the description."""
        return getattr(importlib.import_module(self.functions or self.module), name, default)

    def schema(self) -> Any:
        """Return the pandera schema of valid rows."""
        return self.function("schema")()


def absolute(uri: str) -> str:
    """Return an address, or a path relative to the parent of the DAGs folder, as absolute."""
    return uri if not uri or "://" in uri else str(FOLDER.parents[1] / uri)


def names() -> list[str]:
    """Return the names of the modules in `problems/`, sorted."""
    return sorted(entry.name for entry in pkgutil.iter_modules([str(FOLDER)]))


def load(module: str) -> Problem:
    """Return the description in a module of `problems/`."""
    description: Problem = importlib.import_module(f"problems.{module}").PROBLEM
    return description
