"""The features of a problem, and the copy of their source that each model contains."""

import importlib
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from hashlib import sha256
from pathlib import Path
from types import ModuleType
from typing import Any

import pandas as pd

from ml import features
from ml.problem import Problem


@dataclass(frozen=True)
class Features:
    """How a problem makes its features. `module` is a copy that only models refer to."""

    module: ModuleType
    source: str
    numbers: list[str]
    categories: list[str]
    arguments: Mapping[str, Any] = field(default_factory=dict)

    @property
    def names(self) -> list[str]:
        """All features, in order."""
        return [*self.categories, *self.numbers]

    def table(self, rows: pd.DataFrame) -> pd.DataFrame:
        """Return the features of each row."""
        return self.module.make(rows, **self.arguments)


def of(problem: Problem) -> Features:
    """Return the features of a problem: its own, or those that follow from its schema."""
    module = importlib.import_module(problem.features) if problem.features else features
    source = Path(str(module.__file__)).read_text(encoding="utf-8")
    if problem.features:
        return Features(_copy(source), source, list(module.NUMBERS), list(module.CATEGORIES))
    kinds = _kinds(problem)
    parts = [f"{name}_{part}" for name in kinds["dates"] for part in features.PARTS]
    return Features(_copy(source), source, [*kinds["numbers"], *parts], kinds["categories"], kinds)


def _kinds(problem: Problem) -> dict[str, list[str]]:
    """Return the inputs by how they become features, from the types in the schema."""
    kinds: dict[str, list[str]] = {"numbers": [], "categories": [], "dates": []}
    columns = problem.schema().columns
    for name in problem.inputs:
        dtype = str(columns[name].dtype).lower()
        is_number = dtype.startswith(("float", "int", "uint", "bool"))
        is_date = dtype.startswith("datetime")
        kinds["dates" if is_date else "numbers" if is_number else "categories"].append(name)
    return kinds


@cache
def _copy(source: str) -> ModuleType:
    """Return a module made from the source, with the source's hash in its name.

    A model refers to its code by name. With a name of its own, an old champion keeps its features
    while newer models are loaded in the same process.
    """
    module = ModuleType(f"features_{sha256(source.encode()).hexdigest()[:12]}")
    exec(compile(source, f"{module.__name__}.py", "exec"), module.__dict__)
    sys.modules[module.__name__] = module
    return module
