"""Patches of Airflow, Celery and structlog, and the hooks that apply them.

Every process of Airflow imports this through its cluster policy. A patch is applied right after the
import of its module, so a process that never imports the module pays nothing.
"""

import importlib
from dataclasses import replace
from functools import partial
from types import ModuleType

from stack_runtime.airflow.patches import (
    celery_queue,
    dag_callbacks,
    dag_files,
    execution_api,
    imports,
    killed_tasks,
    later_fixes,
    local_executor,
    macros,
    mail,
    on_kill,
    operators,
    results,
    scheduling,
    secrets,
    skips,
    task_clear,
    task_logs,
    task_processes,
    task_requests,
    tasks,
    tracebacks,
    triggers,
    virtual_environments,
    wake_ups,
)
from stack_runtime.shared import patch_registry, s3

PATCHES = (
    *imports.PATCHES,
    *operators.PATCHES,
    *tasks.PATCHES,
    killed_tasks.PATCH,
    task_processes.PATCH,
    on_kill.PATCH,
    *task_logs.PATCHES,
    *task_requests.PATCHES,
    macros.PATCH,
    task_clear.PATCH,
    virtual_environments.PATCH,
    *execution_api.PATCHES,
    results.PATCH,
    *wake_ups.PATCHES,
    *local_executor.PATCHES,
    *dag_callbacks.PATCHES,
    *dag_files.PATCHES,
    *scheduling.PATCHES,
    *skips.PATCHES,
    *mail.PATCHES,
    *celery_queue.PATCHES,
    *triggers.PATCHES,
    *later_fixes.PATCHES,
    *secrets.PATCHES,
    tracebacks.PATCH,
    # Not applied to the whole process: `s3.short_timeouts` applies it while a log is copied.
    replace(s3.SHORT_TIMEOUTS, name="short-timeouts-for-task-logs", apply=lambda config: None),
)


def register() -> None:
    """Apply each patch when its module is imported, or now if it is imported already."""
    import wrapt

    for patch in PATCHES:
        if patch.load is importlib.import_module:
            wrapt.register_post_import_hook(partial(_activate, patch), patch.module)


def _activate(patch: patch_registry.Patch, module: ModuleType) -> None:
    patch_registry.activate(patch, module)


def load_deferred() -> None:
    """Import the modules whose import itself is patched; call this before any other import."""
    for patch in PATCHES:
        if patch.load is not importlib.import_module:
            patch_registry.load(patch)
