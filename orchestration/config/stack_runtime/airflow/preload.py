"""Import what every task needs once, before the worker forks (named in docker-compose.yaml).

In Airflow 3.0.1 each task imports it again in its own process. This includes plugins: a changed
plugin is loaded when the worker restarts, as Airflow's documentation describes.
"""

import gc

import airflow.models.dagbag
import airflow.sdk.execution_time.supervisor
import airflow.sdk.execution_time.task_runner  # noqa: F401
from airflow.listeners.listener import get_listener_manager
from airflow.providers_manager import ProvidersManager

# DAG files import these names, and each of them is loaded at its first use.
from airflow.sdk import DAG, Asset, chain, dag, task, task_group  # noqa: F401
from celery.signals import worker_before_create_process


def freeze_objects(**_: object) -> None:
    """Exempt all objects from garbage collection, so that forked processes share their pages."""
    gc.collect()
    gc.freeze()


worker_before_create_process.connect(freeze_objects)
ProvidersManager().initialize_providers_hooks()
get_listener_manager()
