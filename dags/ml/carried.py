"""The code that a model takes along: a copy of `features` under a name of its own."""

import importlib.util
import sys
import tempfile
from functools import cache
from hashlib import sha256
from pathlib import Path
from types import ModuleType

from ml import features


@cache
def features_of_its_own() -> ModuleType:
    """The module `features` as a copy that models are stored with, its hash in its name.

    A model refers to its code by name. Under a name of its own an old champion keeps its features
    while newer ones are loaded beside it.
    """
    source = Path(features.__file__).read_bytes()
    name = f"features_{sha256(source).hexdigest()[:12]}"
    file = Path(tempfile.mkdtemp(prefix="features-"), f"{name}.py")
    file.write_bytes(source)
    spec = importlib.util.spec_from_file_location(name, file)
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
