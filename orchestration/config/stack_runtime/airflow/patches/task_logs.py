"""Upload of task logs to their bucket (`remote_logs`), and logs of running tasks."""

import os
from contextlib import suppress
from typing import Any
from urllib.parse import urlsplit

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


def bypass_proxy(handler: Any) -> None:
    """Fetch logs of running tasks without a proxy from their hosts, which `NO_PROXY` cannot name.

    In Docker these are the IDs of containers.
    """
    fetch = handler._fetch_logs_from_service

    def fetch_directly(url: str, log_relative_path: str) -> Any:
        hosts, host = os.environ.get("no_proxy", ""), urlsplit(url).hostname
        if host and not {"*", host} & {*hosts.split(",")}:
            os.environ["no_proxy"] = f"{hosts},{host}"
        return fetch(url, log_relative_path)

    handler._fetch_logs_from_service = fetch_directly


PATCHES = (
    Patch(
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
        reason="A deferred task uploads its log while it may already be due again, for which it "
        "fails; a log whose worker was killed is never uploaded.",
        upstream="apache/airflow#66374",
        delete_when="Airflow uploads a log once, at the end of its task",
        apply=upload_when_ended,
    ),
    Patch(
        name="fetch-logs-without-proxy",
        module="airflow.utils.log.file_task_handler",
        needs=("_fetch_logs_from_service",),
        distribution="apache-airflow-core",
        versions=">=3.0.1,<3.2",
        kind=Kind.CORRECTNESS,
        reason="With a proxy in the configuration of Docker's client, requests for logs of running "
        "tasks go to the proxy, with their token.",
        upstream="none",
        delete_when="services have fixed host names",
        apply=bypass_proxy,
    ),
)
