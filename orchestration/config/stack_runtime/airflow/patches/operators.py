"""Give operators the defaults of the configuration, of their class and of their DAG.

The Task SDK of 3.0.1 has defaults of its own. A mapped operator also gets them instead of those of
its class, and it refuses default arguments that are meant for other operators.
"""

import inspect
import sys
from datetime import timedelta
from typing import Any

from stack_runtime.shared.patch_registry import Kind, Patch

SDK = "apache-airflow-task-sdk"


def read_defaults(abstract: Any) -> None:
    """Take the defaults of operators from the configuration, before operators copy them."""
    from airflow.configuration import conf

    abstract.DEFAULT_OWNER = conf.get_mandatory_value("operators", "default_owner")
    abstract.DEFAULT_QUEUE = conf.get_mandatory_value("operators", "default_queue")
    abstract.DEFAULT_RETRIES = conf.getint("core", "default_task_retries")
    delay = conf.getint("core", "default_task_retry_delay")
    abstract.DEFAULT_RETRY_DELAY = timedelta(seconds=delay)
    abstract.MAX_RETRY_DELAY = conf.getint("core", "max_task_retry_delay")
    timeout = conf.gettimedelta("core", "default_task_execution_timeout")
    abstract.DEFAULT_TASK_EXECUTION_TIMEOUT = timeout


def choose_defaults(operator: Any) -> None:
    """Give a mapped operator the defaults of its class, and only default arguments it knows."""
    merge, base = operator.get_merged_defaults, operator.BaseOperator

    def arguments(one: Any) -> set[str]:
        names: set[str] = getattr(one.__init__, "_BaseOperatorMeta__param_names", set())
        return names

    def of_class(mapped: Any) -> dict[str, Any]:
        subclasses = reversed(mapped.__mro__[: mapped.__mro__.index(base)])
        return {
            name: parameter.default
            for one in subclasses
            if "__init__" in vars(one)
            for name, parameter in inspect.signature(one.__init__).parameters.items()
            if name in operator._PARTIAL_DEFAULTS
            and parameter.default not in (parameter.empty, None)
        }

    def merged(*, task_default_args: Any, **options: Any) -> Any:
        defaults, params = merge(task_default_args=task_default_args, **options)
        # Only `partial` has this variable. An operator that is not mapped chooses by itself.
        if mapped := sys._getframe(1).f_locals.get("operator_class"):
            known = {name for one in mapped.__mro__ for name in arguments(one)}
            # A mapped operator takes other arguments from its DAG when it runs.
            chosen = arguments(base) | (known & {*(task_default_args or ())})
            defaults = of_class(mapped) | {k: v for k, v in defaults.items() if k in chosen}
        return defaults, params

    operator.get_merged_defaults = merged


PATCHES = (
    Patch(
        name="read-defaults-of-operators",
        module="airflow.sdk.definitions._internal.abstractoperator",
        needs=(
            "DEFAULT_OWNER",
            "DEFAULT_QUEUE",
            "DEFAULT_RETRIES",
            "DEFAULT_RETRY_DELAY",
            "DEFAULT_TASK_EXECUTION_TIMEOUT",
            "MAX_RETRY_DELAY",
        ),
        distribution=SDK,
        versions=">=1.0.1,<1.0.5",
        kind=Kind.CORRECTNESS,
        reason="Default retries and other defaults of the configuration are ignored, so a task "
        "fails if its worker dies.",
        upstream="apache/airflow#52786, #52871",
        delete_when="Airflow 3.0.5",
        apply=read_defaults,
    ),
    Patch(
        name="choose-defaults-of-mapped-operators",
        module="airflow.sdk.bases.operator",
        needs=(
            "_PARTIAL_DEFAULTS",
            "get_merged_defaults",
            "BaseOperator.__init__._BaseOperatorMeta__param_names",
        ),
        distribution=SDK,
        versions=">=1.0.1,<1.1",
        kind=Kind.CORRECTNESS,
        reason="A DAG file is not loaded if a mapped operator does not know one of its default "
        "arguments, and a mapped operator ignores the defaults of its class.",
        upstream="apache/airflow#50389, #72588",
        delete_when="Airflow 3.0.2; for defaults of the class 3.3.2",
        apply=choose_defaults,
    ),
)
