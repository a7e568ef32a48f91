"""Avoid work that Airflow repeats for each task.

Measured in a worker with a chain of ten tasks of 310 ms each. Of these, 53 ms read certificates for
a client that uses plain HTTP, and 12 ms send a heartbeat right after the start. The API server
needs additional time for it.
"""

import functools
from typing import Any

from stack_runtime.shared.patch_registry import Kind, Patch

SUPERVISOR = "airflow.sdk.execution_time.supervisor"
SDK = "apache-airflow-task-sdk"


def share_tls_context(supervisor: Any) -> None:
    """Make all clients of the API server share one TLS context."""
    client = supervisor.Client

    @functools.cache
    def context() -> Any:
        import httpx

        return httpx.create_ssl_context()

    def make(**options: Any) -> Any:
        return client(**{"verify": context(), **options})

    supervisor.Client = make


def start_counts_as_heartbeat(supervisor: Any) -> None:
    """Send no heartbeat right after the request that started the task."""

    class StartedAlive(supervisor.ActivitySubprocess):  # type: ignore[misc]
        def _on_child_started(self, *args: Any, **options: Any) -> None:
            super()._on_child_started(*args, **options)
            self._last_heartbeat_attempt = self._last_successful_heartbeat

    supervisor.ActivitySubprocess = StartedAlive


PATCHES = (
    Patch(
        name="share-tls-context",
        module=SUPERVISOR,
        needs=("Client",),
        distribution=SDK,
        versions=">=1.0.1,<1.0.4",
        kind=Kind.SPEED,
        reason="Each task reads all certificates of the machine again, for plain HTTP too.",
        upstream="apache/airflow#57334",
        delete_when="Airflow 3.0.4, whose client ignores it; 3.1.2 shares the context itself",
        apply=share_tls_context,
    ),
    Patch(
        name="start-counts-as-heartbeat",
        module=SUPERVISOR,
        needs=(
            "ActivitySubprocess._on_child_started",
            "ActivitySubprocess._last_heartbeat_attempt",
            "ActivitySubprocess._last_successful_heartbeat",
        ),
        distribution=SDK,
        versions=">=1.0.1,<1.1",
        kind=Kind.SPEED,
        reason="Each task sends a heartbeat right after the request that started it.",
        upstream="none",
        delete_when="Airflow does this itself",
        apply=start_counts_as_heartbeat,
    ),
)
