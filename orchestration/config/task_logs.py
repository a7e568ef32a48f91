"""Airflow's logging where task logs are kept in a bucket: [logging] logging_config_class.

Amazon's provider writes and reads them. Different from what it does by itself:

- It asks with the keys of its environment. For a connection, 3.0.1's supervisor, which uploads a
  log when its task has ended, has nobody to ask.
- A try that was killed with its worker, and so did not upload its log, has that done by the next.
- A bucket that fails is waited for in seconds, told in one line, and left alone for a while. What
  it did not take stays in the folder, is read from there, and follows later.
- A task that was put off and goes on has its log there once, when it has ended (lean_tasks.py); by
  itself what it had written before is there twice.
"""

import fcntl
import hashlib
import os
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cached_property
from pathlib import Path
from typing import Any

import artifact_store
import bucket_errors
from airflow.config_templates.airflow_local_settings import BASE_LOG_FOLDER, DEFAULT_LOGGING_CONFIG
from airflow.providers.amazon.aws.hooks.s3 import S3Hook
from airflow.providers.amazon.aws.log.s3_task_handler import S3RemoteLogIO

LOGGING_CONFIG = DEFAULT_LOGGING_CONFIG
# Each task's end, and each look at a log, would wait for a bucket that does not answer.
REST_SECONDS = 30
# More would keep a worker's place for long after its task has ended.
FOLLOW_AT_ONCE = 50
TRY = re.compile(r"attempt=(\d+)\.log$")


class Missed:
    """Logs that the bucket did not take: a file for each, which holds its path."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __contains__(self, path: str) -> bool:
        return self._file(path).exists()

    def add(self, path: str) -> None:
        """Remember one."""
        self.folder.mkdir(mode=0o775, exist_ok=True)
        self._file(path).write_text(path, encoding="utf-8")

    def discard(self, path: str) -> None:
        """It is there now."""
        self._file(path).unlink(missing_ok=True)

    @contextmanager
    def taken(self) -> Iterator[list[str]]:
        """Some of them, for one process at a time; to all others there are none."""
        found = [one for one in self.folder.glob("*.path")] if self.folder.exists() else []
        if not found:
            yield []
            return
        with (self.folder / "lock").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                found = []
            yield [one.read_text("utf-8") for one in sorted(found)[:FOLLOW_AT_ONCE] if one.exists()]

    def _file(self, path: str) -> Path:
        # A path may be longer than a name.
        return self.folder / f"{hashlib.sha256(path.encode()).hexdigest()}.path"


def earlier_tries(path: str) -> list[str]:
    """Logs of the tries before: one that was killed with its worker was not copied."""
    numbers = [int(found[1]) for found in TRY.finditer(path)]
    before = range(1, *numbers) if numbers else ()
    return [TRY.sub(f"attempt={number}.log", path) for number in before]


class TaskLogs(S3RemoteLogIO):  # type: ignore[misc]
    """Task logs in a folder of this machine, each copied to the bucket when its task has ended."""

    def __init__(self, destination: str, folder: str) -> None:
        super().__init__(destination.rstrip("/"), folder, delete_local_copy=False)
        self.missed = Missed(self.base_log_folder / ".not-in-the-bucket")
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
        """Copy a log there, and some that it had missed. Never raises: the task has ended."""
        for one in (os.fspath(path), *earlier_tries(os.fspath(path))):
            self._sent(one, ti)
        with suppress(OSError), self.missed.taken() as before:
            for one in before:
                if not self._sent(one, ti):
                    return

    def _sent(self, path: str, ti: Any) -> bool:
        if time.monotonic() > self.rests_until:
            try:
                super().upload(path, ti)
                self.missed.discard(path)
            except Exception as error:
                self._rest(error)
            else:
                return True
        with suppress(OSError):
            self.missed.add(path)
        return False

    def write(self, log: str, remote_log_location: str, *_: Any, **__: Any) -> bool:
        """Put it there, in the place of any. Raises what AWS's library raises, as the next two."""
        self.hook.load_string(log, key=remote_log_location, replace=True)
        return True

    def s3_read(self, remote_log_location: str, return_error: bool = False) -> str:
        """The text of one."""
        text: str = self.hook.read_key(remote_log_location)
        return text

    def read(self, relative_path: str, ti: Any) -> Any:
        """Where they were found, and their texts; without the last, the folder is looked into."""
        if relative_path in self.missed:
            return [f"not in {self.remote_base} yet"], None
        if time.monotonic() > self.rests_until:
            try:
                return super().read(relative_path, ti)
            except Exception as error:
                self._rest(error)
        return [self.why], None

    def _rest(self, error: Exception) -> None:
        trouble = bucket_errors.understood(error, self.remote_base)
        self.why = f"task logs in {self.remote_base}: {trouble.cause}; {trouble.fix}"
        self.rests_until = time.monotonic() + REST_SECONDS
        self.log.error("%s", self.why)


REMOTE_TASK_LOG = TaskLogs(os.environ["AIRFLOW_LOGS_DESTINATION"], BASE_LOG_FOLDER)
