"""Airflow's cluster policy, and the patches that every process of Airflow needs.

Every process imports this through `airflow_local_settings`, the name that Airflow looks for.
"""

import importlib.util
import sys
from datetime import timedelta
from pathlib import Path
from types import ModuleType
from typing import Any

from airflow.configuration import conf

from stack_runtime.airflow import patches
from stack_runtime.shared import s3

NAME = "airflow_local_settings"

# docker-compose.s3.yaml passes unset settings as blank ones.
s3.drop_blank_settings()
patches.register()


def default_retries(task: Any) -> None:
    """Set a task's retries and their delay, unless the DAG file sets them.

    The Task SDK of 3.0.1 defaults to 0 retries and does not read [core] default_task_retries. A
    task whose worker died would fail permanently.
    """
    # A mapped task is created when it runs; a dictionary contains the arguments of its instances.
    mapped = getattr(task, "partial_kwargs", None)
    given = task._BaseOperator__init_kwargs if mapped is None else mapped
    defaults = {
        "retries": conf.getint("core", "default_task_retries"),
        "retry_delay": timedelta(seconds=conf.getint("core", "default_task_retry_delay")),
    }
    for name, value in defaults.items():
        if name in given:
            continue
        if mapped is None:
            setattr(task, name, value)
        else:
            mapped[name] = value


def local_settings(shim: str) -> dict[str, Any]:
    """Return Airflow's local settings: ours combined with the user's own.

    The user's file is the next `airflow_local_settings.py` on Airflow's path after `shim`, in
    `plugins/` or in the folder `config` of Airflow's home. Its task policy runs after ours. Its
    other names are used unchanged. Raises any exception that the file raises.
    """
    own = _users_settings(Path(shim))
    if own is None:
        return {"task_policy": default_retries}
    names = getattr(own, "__all__", [name for name in vars(own) if not name.startswith("__")])
    settings = {name: getattr(own, name) for name in names}
    users_policy = settings.get("task_policy")

    def task_policy(task: Any) -> None:
        default_retries(task)
        if users_policy:
            users_policy(task)

    return {**settings, "task_policy": task_policy}


def _users_settings(shim: Path) -> ModuleType | None:
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
