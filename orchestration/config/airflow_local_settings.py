"""The module that Airflow imports: our cluster policy, then the user's own file."""

from stack_runtime.airflow.cluster_policy import local_settings

_settings = local_settings(__file__)
__all__ = list(_settings)
globals().update(_settings)
