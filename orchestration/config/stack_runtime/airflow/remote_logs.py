"""Airflow's logging where task logs are kept in a bucket: [logging] logging_config_class.

Different from the task logs of Amazon's provider:

- The keys are those of the environment. For a connection, 3.0.1's supervisor, which uploads a log
  when its task has ended, has nobody to ask.
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

from airflow.config_templates.airflow_local_settings import BASE_LOG_FOLDER, DEFAULT_LOGGING_CONFIG

from stack_runtime.airflow.pending_logs import Waiting
from stack_runtime.shared import s3, s3_errors

LOGGING_CONFIG = DEFAULT_LOGGING_CONFIG
LOG = logging.getLogger("task_logs")
# Each task's end, and each look at a log, would wait for a bucket that does not answer.
REST_SECONDS = 30
# What follows at one task's end at most: more would keep its place for long.
FOLLOW_SECONDS = 10
# A log that nobody wrote to for so long is whole.
FORGOTTEN_SECONDS = 24 * 3600
OF_TRIGGER = ".trigger."


class TaskLogs:
    """Task logs in a folder of this machine, copied to a bucket: Airflow's RemoteLogIO."""

    processors = ()

    def __init__(self, destination: str, folder: str) -> None:
        self.destination, self.folder = destination.rstrip("/"), Path(folder)
        self.bucket, self.prefix = s3.bucket_and_prefix(destination)
        self.waiting = Waiting(self.folder / ".not-in-the-bucket")
        self.rests_until, self.why = 0.0, ""

    @cached_property
    def client(self) -> Any:
        """A client of the bucket, with the settings of artifacts."""
        return s3.client()

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
        from boto3.s3.transfer import TransferConfig

        alone = TransferConfig(use_threads=False)
        with s3.brief():
            self.client.upload_file(str(file), self.bucket, self._key(path), Config=alone)

    def _key(self, path: str) -> str:
        return "/".join(filter(None, (self.prefix, path)))

    def _rests(self) -> bool:
        return time.monotonic() < self.rests_until

    def _failed(self, path: str, error: Exception) -> None:
        if s3_errors.is_of_one(error):
            # Asked again it would be refused again; it stays in the folder.
            self.waiting.discard(path)
            LOG.error("%s is not taken by %s: %s", path, self.destination, type(error).__name__)
            return
        self._rest(error)
        self.waiting.add(path, self.why)

    def _rest(self, error: Exception) -> None:
        trouble = s3_errors.understood(error, self.destination)
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
                with s3.brief():
                    return self._held(relative_path)
            except Exception as error:
                self._rest(error)
        return [self.why], None

    def _held(self, path: str) -> tuple[list[str], list[str] | None]:
        pages = self.client.get_paginator("list_objects_v2").paginate(
            Bucket=self.bucket, Prefix=self._key(path)
        )
        keys = sorted(one["Key"] for page in pages for one in page.get("Contents", ()))
        bodies = (self.client.get_object(Bucket=self.bucket, Key=key)["Body"] for key in keys)
        texts = [body.read().decode("utf-8", "replace") for body in bodies]
        return [f"s3://{self.bucket}/{key}" for key in keys], texts or None


REMOTE_TASK_LOG = TaskLogs(os.environ["AIRFLOW_LOGS_DESTINATION"], BASE_LOG_FOLDER)
