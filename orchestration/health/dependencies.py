"""What each service needs, so that a cause is reported before its symptoms."""

from functools import cache

from orchestration.engines.base import PROXY

# Besides `depends_on` of the Compose file, this has what services need while they run.
NEEDS = {
    "airflow-init": ("postgres",),
    "mlflow-migrate": ("postgres",),
    "airflow-apiserver": ("airflow-init",),
    "airflow-dag-processor": ("airflow-init",),
    "airflow-triggerer": ("airflow-init",),
    "airflow-scheduler": ("airflow-init", "redis"),
    "airflow-worker": ("airflow-init", "redis", "airflow-apiserver"),
    "mlflow": ("mlflow-migrate",),
    "status": ("postgres", "redis"),
    PROXY: ("airflow-apiserver", "mlflow", "status"),
}


@cache
def depth(service: str) -> int:
    """Return the length of the longest chain of services that a service needs, 0 without any."""
    return 1 + max(map(depth, NEEDS.get(service, ())), default=-1)
