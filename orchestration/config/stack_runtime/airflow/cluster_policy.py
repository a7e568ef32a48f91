"""The user's cluster policy, and the patches that every process of Airflow needs.

Every process imports this through `airflow_local_settings`, the name that Airflow looks for.
"""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

from stack_runtime.airflow import mail, patches
from stack_runtime.shared import s3

NAME = "airflow_local_settings"

# docker-compose.s3.yaml passes unset settings as blank ones.
s3.drop_blank_settings()
mail.provide_connection()
patches.register()


def users_settings(shim: str) -> dict[str, Any]:
    """Return the settings of the user's own file; empty if there is none.

    It is the next `airflow_local_settings.py` on Airflow's path after `shim`, in `plugins/` or in
    the folder `config` of Airflow's home. Raises any exception that the file raises.
    """
    own = _users_module(Path(shim))
    if own is None:
        return {}
    names = getattr(own, "__all__", [name for name in vars(own) if not name.startswith("__")])
    return {name: getattr(own, name) for name in names}


def _users_module(shim: Path) -> ModuleType | None:
    for folder in map(Path, sys.path):
        path = folder / f"{NAME}.py"
        if folder.resolve() != shim.resolve().parent and path.is_file():
            spec = importlib.util.spec_from_file_location(f"users_{NAME}", path)
            if spec and spec.loader:
                module = importlib.util.module_from_spec(spec)
                # An import does the same; dataclasses look up their module there.
                sys.modules[spec.name] = module
                spec.loader.exec_module(module)
                return module
    return None
