"""Airflow's logging if task logs are kept in a bucket: [logging] logging_config_class.

Differences from the task logs of Amazon's provider:

- The keys come from the environment. The supervisor of 3.0.1, which uploads a log when its task has
  finished, has no way to read a connection.
- A log is pending from the start of its task until the bucket contains all of it. If its worker was
  killed or the bucket failed, a later task uploads it. Until then the folder's copy is shown.
- A bucket that fails costs seconds and logs one line. Then requests pause for a while.
- The log of a deferred task is uploaded when the task has finished. Airflow would upload it twice,
  and the scheduler would fail the task if it is due again before the first upload ends.
- The triggerer uploads nothing, because all its triggers would wait. The task uploads their logs.
"""

import logging
import os
import time
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import Any

from airflow.config_templates.airflow_local_settings import BASE_LOG_FOLDER, DEFAULT_LOGGING_CONFIG

from stack_runtime.airflow.pending_logs import PendingLogs
from stack_runtime.shared import s3, s3_errors

LOGGING_CONFIG = DEFAULT_LOGGING_CONFIG
LOG = logging.getLogger("task_logs")
# Pause after a failure; otherwise every task and every reader of a log would wait for the bucket.
PAUSE_SECONDS = 30
# Time for pending logs at the end of a task, which occupies its slot meanwhile.
CATCH_UP_SECONDS = 10
# A log that did not change for this long is complete.
COMPLETE_SECONDS = 24 * 3600
TRIGGER_MARK = ".trigger."


class TaskLogs:
    """Task logs in a folder of this machine, copied to a bucket: Airflow's RemoteLogIO."""

    processors = ()

    def __init__(self, destination: str, folder: str) -> None:
        self.destination, self.folder = destination.rstrip("/"), Path(folder)
        self.bucket, self.prefix = s3.bucket_and_prefix(destination)
        self.pending = PendingLogs(self.folder / ".not-in-the-bucket")
        self.paused_until, self.why = 0.0, ""

    @cached_property
    def client(self) -> Any:
        """Return an S3 client with the same settings as for artifacts."""
        return s3.client()

    def upload(self, path: os.PathLike[str] | str, ti: Any) -> None:
        """Upload the log of a finished task, then some pending logs. Never raises."""
        name, until = os.fspath(path), time.monotonic() + CATCH_UP_SECONDS
        if TRIGGER_MARK in name:
            self.pending.add(name)
            return
        for log in self._with_triggers(name):
            self._copy(log, finished=True)
        with suppress(OSError, ValueError), self.pending.due() as records:
            for record in records:
                if self._paused() or time.monotonic() > until:
                    return
                self._catch_up(record)

    def _with_triggers(self, name: str) -> list[str]:
        file = self.folder / name
        trigger_logs = file.parent.glob(f"{file.name}{TRIGGER_MARK}*")
        return [name, *(str(log.relative_to(self.folder)) for log in sorted(trigger_logs))]

    def _catch_up(self, record: dict[str, Any]) -> None:
        path = record["path"]
        try:
            status = (self.folder / path).stat()
        except FileNotFoundError:
            self.pending.discard(path)
            return
        if status.st_size != record["sent"]:
            self._copy(path, finished=bool(record["why"]))
        elif time.time() - status.st_mtime > COMPLETE_SECONDS:
            self.pending.discard(path)

    def _copy(self, path: str, *, finished: bool) -> None:
        if self._paused():
            self.pending.add(path, self.why)
            return
        file = self.folder / path
        try:
            size = file.stat().st_size
            self._put(file, path)
        except FileNotFoundError:
            self.pending.discard(path)
        except Exception as error:
            self._failed(path, error)
        else:
            # The log may have grown meanwhile, or another process may have sent less of it.
            if finished and file.stat().st_size == size:
                self.pending.discard(path)
            else:
                self.pending.add(path, sent=size)

    def _put(self, file: Path, path: str) -> None:
        from boto3.s3.transfer import TransferConfig

        one_thread = TransferConfig(use_threads=False)
        with s3.short_timeouts():
            self.client.upload_file(str(file), self.bucket, self._key(path), Config=one_thread)

    def _key(self, path: str) -> str:
        return "/".join(filter(None, (self.prefix, path)))

    def _paused(self) -> bool:
        return time.monotonic() < self.paused_until

    def _failed(self, path: str, error: Exception) -> None:
        if s3_errors.rejects_object(error):
            # Another try would be rejected too. The log stays in the folder.
            self.pending.discard(path)
            LOG.error("%s rejects %s: %s.", self.destination, path, type(error).__name__)
            return
        self._pause(error)
        self.pending.add(path, self.why)

    def _pause(self, error: Exception) -> None:
        trouble = s3_errors.explain(error, self.destination)
        self.why = f"task logs in {self.destination}: {trouble.cause}; {trouble.fix}"
        self.paused_until = time.monotonic() + PAUSE_SECONDS
        LOG.error("%s", self.why)

    def read(self, relative_path: str, ti: Any) -> tuple[list[str], list[str] | None]:
        """Return the sources and texts of a log; without texts, Airflow reads the folder."""
        for log in self._with_triggers(relative_path):
            record = self.pending.get(log) if (self.folder / log).exists() else None
            if record is not None:
                why = f": {record['why']}" if record["why"] else ""
                return [f"not in {self.destination} yet{why}"], None
        if not self._paused():
            try:
                with s3.short_timeouts():
                    return self._download(relative_path)
            except Exception as error:
                self._pause(error)
        return [self.why], None

    def _download(self, path: str) -> tuple[list[str], list[str] | None]:
        pages = self.client.get_paginator("list_objects_v2").paginate(
            Bucket=self.bucket, Prefix=self._key(path)
        )
        keys = sorted(entry["Key"] for page in pages for entry in page.get("Contents", ()))
        bodies = (self.client.get_object(Bucket=self.bucket, Key=key)["Body"] for key in keys)
        texts = [body.read().decode("utf-8", "replace") for body in bodies]
        return [f"s3://{self.bucket}/{key}" for key in keys], texts or None


REMOTE_TASK_LOG = TaskLogs(os.environ["AIRFLOW_LOGS_DESTINATION"], BASE_LOG_FOLDER)
