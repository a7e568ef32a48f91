"""Defer imports that most services do not need until something uses them.

Half of the modules that the scheduler of 3.0.1 imports are for other work. They are the API
server's application, for migrations that only `airflow db` runs, and a Python parser, for tasks in
virtual environments, which read their own source.
"""

import importlib
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from types import ModuleType
from typing import Any

from stack_runtime.shared.patch_registry import Kind, Patch

DECORATORS = "airflow.utils.decorators"
DB_MANAGER = "airflow.utils.db_manager"


@contextmanager
def stand_in(name: str, **members: object) -> Iterator[None]:
    """Temporarily provide a module with these members, unless the real one is imported already."""
    if name in sys.modules:
        yield
        return
    module = ModuleType(name)
    vars(module).update(members)
    sys.modules[name] = module
    try:
        yield
    finally:
        del sys.modules[name]


def importing_without(name: str, **members: object) -> Callable[[str], ModuleType]:
    """Return an import function that uses these members instead of importing module `name`."""

    def load(module: str) -> ModuleType:
        with stand_in(name, **members):
            return importlib.import_module(module)

    return load


def _remove_task_decorator(python_source: str, task_decorator_name: str) -> str:
    source: str = _real_decorators().remove_task_decorator(python_source, task_decorator_name)
    return source


@cache
def _real_decorators() -> Any:
    return importlib.reload(sys.modules[DECORATORS])


def defer_parser(decorators: Any) -> None:
    """Import the Python parser only when a task's source is read."""
    decorators.remove_task_decorator = _remove_task_decorator


def _run_db_manager() -> Any:
    return importlib.import_module(DB_MANAGER).RunDBManager()


PATCHES = (
    Patch(
        name="import-parser-when-used",
        module=DECORATORS,
        needs=("remove_task_decorator",),
        distribution="apache-airflow-core",
        versions=">=3.0.1,<3.1",
        kind=Kind.SPEED,
        reason="Each service imports a parser of Python for tasks in virtual environments.",
        upstream="apache/airflow#43383 (which introduced it)",
        delete_when="Airflow 3.1, which has no such module",
        apply=defer_parser,
        load=importing_without("libcst", CSTTransformer=object),
    ),
    Patch(
        name="import-migrations-when-used",
        module="airflow.utils.db",
        needs=("RunDBManager", "initdb", "upgradedb"),
        distribution="apache-airflow-core",
        versions=">=3.0.1,<3.1",
        kind=Kind.SPEED,
        reason="Each service imports the API server's application, for migrations it does not run.",
        upstream="none",
        delete_when="Airflow imports it where it is used",
        load=importing_without(DB_MANAGER, RunDBManager=_run_db_manager),
    ),
)
