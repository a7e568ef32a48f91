"""Airflow's logging where task logs are kept in a bucket: [logging] logging_config_class.

Asked by Amazon's provider. Different from what it does by itself:

- It asks with the keys of its environment. For a connection, 3.0.1's supervisor, which uploads a
  log when its task has ended, has nobody to ask.
- A log waits from its task's beginning until the bucket holds all of it. One that nobody uploaded,
  because its worker was killed or the bucket failed, follows at the ends of other tasks; until
  then it is shown from the folder.
- A bucket that fails is waited for in seconds, told in one line, and left alone for a while.
- One that is put off is uploaded when it has ended: by itself it is there twice, and may be due
  again before its upload ends, for which the scheduler would fail it.
- The triggerer uploads nothing: all of its triggers would wait. A task's end takes theirs along.
"""

import logging
import os
import time
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import Any

import artifact_store
import bucket_errors
import wrapt
from airflow.config_templates.airflow_local_settings import BASE_LOG_FOLDER, DEFAULT_LOGGING_CONFIG
from airflow.providers.amazon.aws.hooks.s3 import S3Hook
from waiting_logs import Waiting

LOGGING_CONFIG = DEFAULT_LOGGING_CONFIG
LOG = logging.getLogger("task_logs")
# Each task's end, and each look at a log, would wait for a bucket that does not answer.
REST_SECONDS = 30
# What follows at one task's end at most: more would keep its place for long.
FOLLOW_SECONDS = 10
# A log that nobody wrote to for so long is whole.
FORGOTTEN_SECONDS = 24 * 3600
PUT_OFF = ("deferred", "up_for_reschedule")
OF_TRIGGER = ".trigger."


class TaskLogs:
    """Task logs in a folder of this machine, copied to a bucket: Airflow's RemoteLogIO."""

    processors = ()

    def __init__(self, destination: str, folder: str) -> None:
        self.destination, self.folder = destination.rstrip("/"), Path(folder)
        self.bucket, self.prefix = artifact_store.bucket_and_prefix(destination)
        self.waiting = Waiting(self.folder / ".not-in-the-bucket")
        self.rests_until, self.why = 0.0, ""

    @cached_property
    def hook(self) -> Any:
        """What asks the bucket, set as for artifacts."""
        return S3Hook(
            aws_conn_id=None,
            config=artifact_store.config(),
            transfer_config_args={"use_threads": False},
        )

    def upload(self, path: os.PathLike[str] | str, ti: Any) -> None:
        """Copy a log there when its task has ended, and some that wait. Never raises."""
        name, until = os.fspath(path), time.monotonic() + FOLLOW_SECONDS
        if OF_TRIGGER in name:
            self.waiting.add(name)
            return
        for one in self._with_triggers(name):
            self._copy(one, ended=True)
        with suppress(OSError, ValueError), self.waiting.taken() as others:
            for known in others:
                if self._rests() or time.monotonic() > until:
                    return
                self._follow(known)

    def _with_triggers(self, name: str) -> list[str]:
        file = self.folder / name
        of_triggers = file.parent.glob(f"{file.name}{OF_TRIGGER}*")
        return [name, *(str(one.relative_to(self.folder)) for one in sorted(of_triggers))]

    def _follow(self, known: dict[str, Any]) -> None:
        path = known["path"]
        try:
            found = (self.folder / path).stat()
        except FileNotFoundError:
            self.waiting.discard(path)
            return
        if found.st_size != known["sent"]:
            self._copy(path, ended=bool(known["why"]))
        elif time.time() - found.st_mtime > FORGOTTEN_SECONDS:
            self.waiting.discard(path)

    def _copy(self, path: str, *, ended: bool) -> None:
        if self._rests():
            self.waiting.add(path, self.why)
            return
        file = self.folder / path
        try:
            size = file.stat().st_size
            self._put(file, path)
        except FileNotFoundError:
            self.waiting.discard(path)
        except Exception as error:
            self._failed(path, error)
        else:
            # It may have been written to meanwhile, or another process may have sent less.
            if ended and file.stat().st_size == size:
                self.waiting.discard(path)
            else:
                self.waiting.add(path, sent=size)

    def _put(self, file: Path, path: str) -> None:
        with artifact_store.brief():
            config = self.hook.transfer_config
            self.hook.conn.upload_file(str(file), self.bucket, self._key(path), Config=config)

    def _key(self, path: str) -> str:
        return "/".join(filter(None, (self.prefix, path)))

    def _rests(self) -> bool:
        return time.monotonic() < self.rests_until

    def _failed(self, path: str, error: Exception) -> None:
        if bucket_errors.is_of_one(error):
            # Asked again it would be refused again; it stays in the folder.
            self.waiting.discard(path)
            LOG.error("%s is not taken by %s: %s", path, self.destination, type(error).__name__)
            return
        self._rest(error)
        self.waiting.add(path, self.why)

    def _rest(self, error: Exception) -> None:
        trouble = bucket_errors.understood(error, self.destination)
        self.why = f"task logs in {self.destination}: {trouble.cause}; {trouble.fix}"
        self.rests_until = time.monotonic() + REST_SECONDS
        LOG.error("%s", self.why)

    def read(self, relative_path: str, ti: Any) -> tuple[list[str], list[str] | None]:
        """Where they were found, and their texts; without the last the folder is looked into."""
        for one in self._with_triggers(relative_path):
            known = self.waiting.get(one) if (self.folder / one).exists() else None
            if known is not None:
                why = f": {known['why']}" if known["why"] else ""
                return [f"not in {self.destination} yet{why}"], None
        if not self._rests():
            try:
                with artifact_store.brief():
                    return self._held(relative_path)
            except Exception as error:
                self._rest(error)
        return [self.why], None

    def _held(self, path: str) -> tuple[list[str], list[str] | None]:
        keys = sorted(self.hook.list_keys(bucket_name=self.bucket, prefix=self._key(path)))
        bodies = (self.hook.conn.get_object(Bucket=self.bucket, Key=key)["Body"] for key in keys)
        texts = [body.read().decode("utf-8", "replace") for body in bodies]
        return [f"s3://{self.bucket}/{key}" for key in keys], texts or None


REMOTE_TASK_LOG = TaskLogs(os.environ["AIRFLOW_LOGS_DESTINATION"], BASE_LOG_FOLDER)


def watch(supervisor: Any) -> None:
    """Have what watches a task tell that its log waits, and upload it when the task has ended."""
    from airflow.sdk.log import relative_path_from_logger

    class Logged(supervisor.ActivitySubprocess):  # type: ignore[misc]
        def _on_child_started(self, *told: Any, **options: Any) -> None:
            with suppress(Exception):
                if path := relative_path_from_logger(self.process_log._logger):
                    REMOTE_TASK_LOG.waiting.add(path.as_posix())
            super()._on_child_started(*told, **options)

        def _upload_logs(self) -> None:
            if self.final_state not in PUT_OFF:
                super()._upload_logs()

    supervisor.ActivitySubprocess = Logged


wrapt.register_post_import_hook(watch, "airflow.sdk.execution_time.supervisor")
