"""A task whose own process was killed is tried again, as one that raised an error is.

The supervisor of 3.0.1 reports "failed" for every end but 0, retries or not: a task that the kernel
killed for its memory had one try. Airflow 3.0.2 and later ask whether it may be retried, as here.
"""

from datetime import UTC, datetime
from typing import Any

import wrapt

SUPERVISOR = "airflow.sdk.execution_time.supervisor"


def retry_what_was_killed(supervisor: Any) -> None:
    """Put `Retrying` in the place of what a worker watches each task with."""
    supervisor.ActivitySubprocess = retrying(supervisor)


def retrying(supervisor: Any) -> type:
    """The class that watches a task's process, and asks for a retry where it ended in silence.

    Made when it is needed: only what runs tasks imports its base.
    """
    states = supervisor.TaskInstanceState

    class Retrying(supervisor.ActivitySubprocess):  # type: ignore[misc]
        may_retry = False

        def send_msg(self, msg: Any, **options: Any) -> None:
            # What the API server said when the task was let in, on its way to the task.
            if isinstance(msg, supervisor.StartupDetails):
                self.may_retry = msg.ti_context.should_retry
            super().send_msg(msg, **options)

        @property
        def final_state(self) -> Any:
            # What the task told of its end holds, however its process went after that.
            if self._terminal_state is not None:
                return self._terminal_state
            state = super().final_state
            return states.UP_FOR_RETRY if state == states.FAILED and self.may_retry else state

        def _upload_logs(self) -> None:
            # A task that raised an error has asked for its retry itself. First, as a bucket may
            # let it wait.
            if self._terminal_state is None and self.final_state == states.UP_FOR_RETRY:
                self.client.task_instances.retry(
                    id=self.id,
                    end_date=datetime.now(tz=UTC),
                    rendered_map_index=self._rendered_map_index,
                )
            super()._upload_logs()

    return Retrying


wrapt.register_post_import_hook(retry_what_was_killed, SUPERVISOR)
