"""What services of Airflow import and have no use for, put off until somebody has.

Of what 3.0.1's scheduler imports, half is the API server's application for the migrations that
only `airflow db` runs, a parser of Python for tasks in virtual environments, which read their own
source, and the login's web framework for fields of a form that another service shows.
"""

import importlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from types import ModuleType
from typing import Any

import wrapt


def put_off(service: str) -> None:
    """Import what needs these without them; who asks for them later gets them."""
    with standing_in("libcst", CSTTransformer=object):
        decorators = importlib.import_module("airflow.utils.decorators")
    decorators.remove_task_decorator = _remove_task_decorator  # type: ignore[attr-defined]
    with standing_in("airflow.utils.db_manager", RunDBManager=_run_db_manager):
        importlib.import_module("airflow.utils.db")
    if service != "api-server":
        wrapt.register_post_import_hook(without_forms, "airflow.providers_manager")
    if service in ("scheduler", "celery"):
        # Without a server of their own, as two others have one for the code of DAGs.
        with standing_in("fastapi", Body=_documentation):
            importlib.import_module("airflow.sdk.execution_time.comms")
    if service == "celery":
        with standing_in("click_repl", register_repl=_documentation):
            importlib.import_module("celery.bin.amqp")


def without_forms(providers_manager: Any) -> None:
    """Have it know Airflow's own connections without their fields in the form for connections."""
    manager = providers_manager.ProvidersManager
    with_forms = manager._init_airflow_core_hooks

    def init(self: Any) -> None:
        with standing_in("wtforms"):
            # It would say that fields are missing.
            providers_manager.log.disabled = True
            with_forms(self)
        providers_manager.log.disabled = False

    manager._init_airflow_core_hooks = init


@contextmanager
def standing_in(name: str, **names: object) -> Iterator[None]:
    """Meanwhile a module that has only these names, in the place of one not imported yet."""
    if name in sys.modules:
        yield
        return
    stand_in = ModuleType(name)
    vars(stand_in).update(names)
    sys.modules[name] = stand_in
    try:
        yield
    finally:
        del sys.modules[name]


def _documentation(*_: object, **__: object) -> None:
    """What it says nobody asks for there."""


def _remove_task_decorator(python_source: str, task_decorator_name: str) -> str:
    without: str = _decorators().remove_task_decorator(python_source, task_decorator_name)
    return without


@cache
def _decorators() -> Any:
    return importlib.reload(sys.modules["airflow.utils.decorators"])


def _run_db_manager() -> Any:
    from airflow.utils.db_manager import RunDBManager

    return RunDBManager()
