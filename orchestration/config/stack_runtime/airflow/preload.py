"""What every task needs, imported once by a worker before it forks: named in docker-compose.yaml.

By itself each task of 3.0.1 imports it again, in a process that ends with it. Plugins are part of
it: a changed one is loaded when the worker is started again, as Airflow's documentation has it.
"""

import gc

import airflow.models.dagbag
import airflow.sdk.execution_time.supervisor
import airflow.sdk.execution_time.task_runner  # noqa: F401
from airflow.listeners.listener import get_listener_manager
from airflow.providers_manager import ProvidersManager

# What DAG files begin with: each of these names is loaded when it is asked for.
from airflow.sdk import DAG, Asset, chain, dag, task, task_group  # noqa: F401
from celery.signals import worker_before_create_process


def keep_out_of_collections(**_: object) -> None:
    """Pages that no collection writes to are shared by all processes that are forked after it."""
    gc.collect()
    gc.freeze()


worker_before_create_process.connect(keep_out_of_collections)
ProvidersManager().initialize_providers_hooks()
get_listener_manager()
