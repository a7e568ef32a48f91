"""Names of Airflow that are elsewhere in some of the versions that the stack can run."""

from functools import partial
from typing import Any


def import_dag_bag() -> Any:
    """Return the class DagBag without Airflow's examples. It moved in Airflow 3.1."""
    try:
        from airflow.dag_processing.dagbag import DagBag
    except ImportError:
        from airflow.models.dagbag import DagBag

        return partial(DagBag, include_examples=False)
    return DagBag


def import_dag_serializer() -> Any:
    """Return the class whose `to_dict` serializes a DAG, which has another name since 3.2."""
    from airflow.serialization import serialized_objects

    names = ("DagSerialization", "SerializedDAG")
    return next(filter(None, (getattr(serialized_objects, name, None) for name in names)))


def load_plugins() -> dict[str, str]:
    """Load all plugins and return their import errors by file or module."""
    from airflow import plugins_manager

    plugins_manager.ensure_plugins_loaded()
    # A dictionary until Airflow 3.1, later a function.
    if hasattr(plugins_manager, "get_import_errors"):
        return dict(plugins_manager.get_import_errors())
    return dict(plugins_manager.import_errors)
