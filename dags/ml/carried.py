"""The code that a model takes along: a copy of `features` under a name of its own."""

import sys
from functools import cache
from hashlib import sha256
from pathlib import Path
from types import ModuleType

from ml import features


def source() -> str:
    """Return the text of `features`, which is stored with each model."""
    return Path(features.__file__).read_text(encoding="utf-8")


@cache
def features_of_its_own() -> ModuleType:
    """Return the module `features` as a copy that models refer to, its hash in its name.

    A model refers to its code by name. Under a name of its own an old champion keeps its features
    while newer ones are loaded beside it.
    """
    text = source()
    module = ModuleType(f"features_{sha256(text.encode()).hexdigest()[:12]}")
    exec(compile(text, f"{module.__name__}.py", "exec"), module.__dict__)
    sys.modules[module.__name__] = module
    return module
