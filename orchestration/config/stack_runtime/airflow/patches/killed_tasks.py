"""Retry a task whose process was killed, like a task that raised an error."""

from datetime import UTC, datetime
from typing import Any

from stack_runtime.shared.patch_registry import Kind, Patch


def retry_killed_tasks(supervisor: Any) -> None:
    """Make the supervisor request a retry if the task's process ended without reporting a state."""
    states = supervisor.TaskInstanceState

    class RetryKilled(supervisor.ActivitySubprocess):  # type: ignore[misc]
        may_retry = False

        def send_msg(self, msg: Any, **options: Any) -> None:
            # The API server's answer to the start of the task, which the supervisor forwards.
            if isinstance(msg, supervisor.StartupDetails):
                self.may_retry = msg.ti_context.should_retry
            super().send_msg(msg, **options)

        @property
        def final_state(self) -> Any:
            # A state that the task reported itself is final, however its process ended later.
            if self._terminal_state is not None:
                return self._terminal_state
            state = super().final_state
            return states.UP_FOR_RETRY if state == states.FAILED and self.may_retry else state

        def _upload_logs(self) -> None:
            # A task that raised an error has requested its retry itself. The request is sent before
            # the upload, which may wait for a bucket.
            if self._terminal_state is None and self.final_state == states.UP_FOR_RETRY:
                self.client.task_instances.retry(
                    id=self.id,
                    end_date=datetime.now(tz=UTC),
                    rendered_map_index=self._rendered_map_index,
                )
            super()._upload_logs()

    supervisor.ActivitySubprocess = RetryKilled


PATCH = Patch(
    name="retry-killed-tasks",
    module="airflow.sdk.execution_time.supervisor",
    needs=(
        "TaskInstanceState.UP_FOR_RETRY",
        "StartupDetails",
        "ActivitySubprocess.send_msg",
        "ActivitySubprocess.final_state",
        "ActivitySubprocess._terminal_state",
        "ActivitySubprocess._rendered_map_index",
        "ActivitySubprocess._upload_logs",
    ),
    distribution="apache-airflow-task-sdk",
    versions=">=1.0.1,<1.1.2",
    kind=Kind.CORRECTNESS,
    reason="A task whose process is killed, for example for its memory, fails at once, whatever "
    "its retries are.",
    upstream="apache/airflow#55753, #55767",
    delete_when="Airflow 3.1.2",
    apply=retry_killed_tasks,
)
