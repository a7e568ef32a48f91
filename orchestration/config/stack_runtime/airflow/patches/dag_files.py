"""Parse DAG files when they are due and when they have changed, whatever else is to be done.

Airflow 3.0.1 counts the callbacks of a file as its parse, compares a file's modification time with
the end of its last parse, and looks for changes only while no file waits.
"""

import contextlib
import importlib.util
import os
import time
from collections import deque
from collections.abc import Iterable
from typing import Any

from stack_runtime.shared.patch_registry import Kind, Patch

CORE = "apache-airflow-core"
MANAGER = "airflow.dag_processing.manager"
# How often changed files are looked for while other files wait to be parsed.
LOOK_SECONDS = 2.0


def separate_callbacks(manager: Any) -> None:
    """Keep the callbacks of a file apart from its parses: in queue, processes and statistics."""

    class CallbackFile(manager.DagFileInfo):  # type: ignore[misc]
        """A DAG file whose callbacks are run. It is never equal to a file that is parsed."""

    class Separate(manager.DagFileProcessorManager):  # type: ignore[misc]
        callbacks_were_last = False

        def _add_files_to_queue(self, files: list[Any], add_at_front: bool) -> None:
            if not add_at_front:
                super()._add_files_to_queue(files, add_at_front)
                return
            # Only files with callbacks are added at the front. They wait outside the queue.
            for file in files:
                requests = self._callback_to_execute.pop(file)
                self._callback_to_execute[CallbackFile(**vars(file))] += requests

        def _start_new_processes(self) -> None:
            if len(self._processors) < self._parallelism:
                waiting = [
                    file for file in self._callback_to_execute if file not in self._processors
                ]
                # Callbacks go first, but not twice in a row while a file waits to be parsed.
                may_start = not (self.callbacks_were_last and self._file_queue)
                self.callbacks_were_last = bool(waiting) and may_start
                if self.callbacks_were_last:
                    self._file_queue.appendleft(waiting[0])
            super()._start_new_processes()

        def terminate_orphan_processes(self, present: set[Any]) -> None:
            callbacks = {file for file in self._processors if isinstance(file, CallbackFile)}
            super().terminate_orphan_processes(present | callbacks)

    manager.DagFileProcessorManager = Separate


class ParsedFiles:
    """The states of DAG files when their last parse started."""

    def __init__(self) -> None:
        self.states: dict[Any, Any] = {}

    def start(self, file: Any) -> None:
        """Record that a parse starts now."""
        if self.has_changed(file):
            # Python uses compiled code if its source has the same size and is of the same second.
            with contextlib.suppress(OSError):
                os.unlink(importlib.util.cache_from_source(str(file.absolute_path)))
        self.states[file] = self._state(file)

    def has_changed(self, file: Any) -> bool:
        """Return whether a file exists and is not the one that was parsed."""
        state = self._state(file)
        return state is not None and state != self.states.get(file)

    def changed_first(self, files: Iterable[Any]) -> list[Any]:
        """Return different files in their order, but changed ones first."""
        return sorted(dict.fromkeys(files), key=lambda file: not self.has_changed(file))

    def _state(self, file: Any) -> tuple[int, ...] | None:
        try:
            stat = os.stat(file.absolute_path)
        except OSError:
            return None
        # The second changes even if the first is kept, or the file is replaced. Unlike the inode's
        # number, it stays as it is on network file systems.
        return stat.st_mtime_ns, stat.st_ctime_ns, stat.st_size


def notice_changes(manager: Any) -> None:
    """Parse a file again, and first, if it has changed since its last parse started."""

    class Noticing(manager.DagFileProcessorManager):  # type: ignore[misc]
        _file_queue: Any
        last_look = 0.0

        def __init__(self, **options: Any) -> None:
            super().__init__(**options)
            self.parsed = ParsedFiles()

        def _create_process(self, dag_file: Any) -> Any:
            self.parsed.start(dag_file)
            return super()._create_process(dag_file)

        def processed_recently(self, now: Any, file: Any) -> bool:
            return not self.parsed.has_changed(file) and super().processed_recently(now, file)

        def _sort_by_mtime(self, files: Any) -> tuple[list[Any], set[Any]]:
            # A file with a time in the future would be parsed all the time.
            return super()._sort_by_mtime(files)[0], set()

        def prepare_file_queue(self, known_files: Any) -> None:
            super().prepare_file_queue(known_files)
            self._file_queue = deque(self.parsed.changed_first(self._file_queue))

        def add_files_to_queue(self, known_files: Any) -> None:
            # Airflow calls this in each round of its loop while files wait.
            if time.monotonic() < self.last_look + LOOK_SECONDS:
                return
            self.last_look = time.monotonic()
            known = set().union(*known_files.values()).difference(self._processors)
            changed = filter(self.parsed.has_changed, known)
            self._file_queue = deque(self.parsed.changed_first([*self._file_queue, *changed]))

    manager.DagFileProcessorManager = Noticing


PATCHES = (
    Patch(
        name="separate-callbacks-from-parses",
        module=MANAGER,
        needs=(
            "DagFileInfo",
            "DagFileProcessorManager._add_files_to_queue",
            "DagFileProcessorManager._callback_to_execute",
            "DagFileProcessorManager._file_queue",
            "DagFileProcessorManager._parallelism",
            "DagFileProcessorManager._processors",
            "DagFileProcessorManager._start_new_processes",
            "DagFileProcessorManager.terminate_orphan_processes",
        ),
        distribution=CORE,
        versions=">=3.0.1,<3.1",
        kind=Kind.CORRECTNESS,
        reason="A file with frequent callbacks is not parsed, and all its DAGs count as removed.",
        upstream="apache/airflow#55698, #66484",
        delete_when="Airflow 3.1",
        apply=separate_callbacks,
    ),
    Patch(
        name="notice-changed-dag-files",
        module=MANAGER,
        needs=(
            "DagFileInfo.absolute_path",
            "DagFileProcessorManager._create_process",
            "DagFileProcessorManager._file_queue",
            "DagFileProcessorManager._processors",
            "DagFileProcessorManager._sort_by_mtime",
            "DagFileProcessorManager.add_files_to_queue",
            "DagFileProcessorManager.prepare_file_queue",
            "DagFileProcessorManager.processed_recently",
        ),
        distribution=CORE,
        versions=">=3.0.1,<3.1",
        kind=Kind.CORRECTNESS,
        reason="A DAG file that is saved during its parse, or with an older modification time, is "
        "not parsed for two minutes; a changed one waits behind all others.",
        upstream="none",
        delete_when="Airflow compares a file with the start of its last parse",
        apply=notice_changes,
    ),
)
