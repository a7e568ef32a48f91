"""Let templates use the macros of plugins, which Airflow 3.0.1 only collects."""

from typing import Any

from stack_runtime.shared.patch_registry import Kind, Patch


def find_macros_of_plugins(context: Any) -> None:
    """Search the macros of plugins for a name that is none of Airflow's macros."""
    get_own = context.MacrosAccessor.__getattr__

    def get(self: Any, name: str) -> Any:
        try:
            return get_own(self, name)
        except AttributeError:
            from airflow import macros, plugins_manager

            plugins_manager.integrate_macros_plugins()
            return getattr(macros, name)

    context.MacrosAccessor.__getattr__ = get


PATCH = Patch(
    name="find-macros-of-plugins",
    module="airflow.sdk.execution_time.context",
    needs=("MacrosAccessor.__getattr__",),
    distribution="apache-airflow-task-sdk",
    versions=">=1.0.1,<1.0.2",
    kind=Kind.CORRECTNESS,
    reason="A template that uses a macro of a plugin fails.",
    upstream="apache/airflow#50642",
    delete_when="Airflow 3.0.2",
    apply=find_macros_of_plugins,
)
