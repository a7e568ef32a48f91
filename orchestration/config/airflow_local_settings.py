"""The module that Airflow imports: it applies the patches and passes on the user's own file."""

from stack_runtime.airflow.cluster_policy import users_settings

_settings = users_settings(__file__)
__all__ = list(_settings)
globals().update(_settings)
