"""Upload of task logs to their bucket (`remote_logs`)."""

import os
from contextlib import suppress
from typing import Any

from stack_runtime.shared.patch_registry import Kind, Patch

# A task in one of these states continues later and writes to the same log.
CONTINUED = ("deferred", "up_for_reschedule")


def upload_when_ended(supervisor: Any) -> None:
    """Record each log as pending when its task starts; upload it when the task has finished."""
    if not os.environ.get("AIRFLOW_LOGS_DESTINATION"):
        return
    from airflow.sdk.log import relative_path_from_logger

    from stack_runtime.airflow.remote_logs import REMOTE_TASK_LOG

    class UploadedOnce(supervisor.ActivitySubprocess):  # type: ignore[misc]
        def _on_child_started(self, *args: Any, **options: Any) -> None:
            with suppress(Exception):
                if path := relative_path_from_logger(self.process_log._logger):
                    REMOTE_TASK_LOG.pending.add(path.as_posix())
            super()._on_child_started(*args, **options)

        def _upload_logs(self) -> None:
            if self.final_state not in CONTINUED:
                super()._upload_logs()

    supervisor.ActivitySubprocess = UploadedOnce


PATCH = Patch(
    name="upload-logs-of-ended-tasks",
    module="airflow.sdk.execution_time.supervisor",
    needs=(
        "ActivitySubprocess._on_child_started",
        "ActivitySubprocess._upload_logs",
        "ActivitySubprocess.final_state",
        "ActivitySubprocess.process_log",
    ),
    distribution="apache-airflow-task-sdk",
    versions=">=1.0.1,<1.1",
    kind=Kind.CORRECTNESS,
    reason="A deferred task uploads its log while it may already be due again, for which it fails; "
    "a log whose worker was killed is never uploaded.",
    upstream="apache/airflow#66374",
    delete_when="Airflow uploads a log once, at the end of its task",
    apply=upload_when_ended,
)
