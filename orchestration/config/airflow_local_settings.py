"""Airflow's cluster policy: what a DAG leaves open is what the settings of the stack say.

Every process of Airflow imports this: what has to hold in all of them is here too.

The Task SDK of 3.0.1 has 0 retries built in and does not read `[core] default_task_retries`, so a
task whose worker died would have failed for good.
"""

from datetime import timedelta
from typing import Any

import artifact_store
import lean_tasks  # noqa: F401 - has its effect where tasks are run
import retrying  # noqa: F401 - has its effect where tasks are run
import structlog.dev
import waking  # noqa: F401 - has its effect in the scheduler
from airflow.configuration import conf

__all__ = ["task_policy"]

# Whoever sent a wrong token to 3.0.1 had its signing key written to the log: tracebacks there tell
# the values of variables.
structlog.dev.RichTracebackFormatter.show_locals = property(
    lambda formatter: False, lambda formatter, value: None
)


# With docker-compose.s3.yaml.
artifact_store.settle()


def task_policy(task: Any) -> None:
    """Give a task its retries and their delay, unless the DAG file does."""
    # A mapped task is not made before it runs: what its instances get stands in a dictionary.
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
