"""Import what every task needs once, before its process is forked.

docker-compose.yaml names it for Celery's worker; the standalone scheduler imports it itself.

In Airflow 3.0.1 each task imports it again in its own process. This includes plugins: a changed
plugin is loaded when the worker restarts, as Airflow's documentation describes. All tasks share
what a plugin opens at its import.
"""

import gc
import itertools
import os
import sys

import airflow.models.dagbag
import airflow.sdk.execution_time.supervisor
import airflow.sdk.execution_time.task_runner
import airflow.sdk.log
from airflow.listeners.listener import get_listener_manager
from airflow.providers_manager import ProvidersManager

# DAG files import these names, and each of them is loaded at its first use.
from airflow.sdk import DAG, Asset, chain, dag, task, task_group  # noqa: F401
from celery.signals import worker_before_create_process

# A task is the second fork below its service; a slot is the first.
TASK = 2
forks = itertools.count(1)


def freeze_objects(**_: object) -> None:
    """Exempt all objects from garbage collection, so that forked processes share their pages."""
    gc.collect()
    gc.freeze()


def seed_numpy() -> None:
    """Give each task random numbers of its own, if NumPy was imported before the fork.

    Processes that a task forks keep the state that the task has set.
    """
    random = sys.modules.get("numpy.random")
    if next(forks) == TASK and random:
        random.seed()


worker_before_create_process.connect(freeze_objects)
os.register_at_fork(after_in_child=seed_numpy)
ProvidersManager().initialize_providers_hooks()
# The first client imports its transport and reads certificates (`share-tls-context`).
airflow.sdk.execution_time.supervisor.Client(base_url="http://localhost", token="").close()
get_listener_manager()
