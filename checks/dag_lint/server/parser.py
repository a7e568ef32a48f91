"""Parses one DAG file after the other as Airflow's dag-processor does, and watches what they do."""

import importlib.util
import os
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterable, Iterator
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from io import FileIO
from types import FrameType
from typing import Any, TextIO

TASK_RUNNER = "airflow.sdk.execution_time.task_runner"
WORK = {
    "socket.connect": "top-level-network",
    "socket.getaddrinfo": "top-level-network",
    "sqlite3.connect": "top-level-database",
    "subprocess.Popen": "top-level-process",
    "os.system": "top-level-process",
    "os.exec": "top-level-process",
    "os.posix_spawn": "top-level-process",
    "os.fork": "top-level-process",
    "os.kill": "kill",
    "os.killpg": "kill",
}
# What a listing told cannot be seen to have changed.
LISTINGS = {"os.listdir", "os.scandir"}


class Watch:
    """What the code of the DAGs folder does while it is parsed, told by Python's audit events."""

    def __init__(self, root: str) -> None:
        self.root = root + os.sep
        self.forget()

    def forget(self) -> None:
        """Begin anew, for the next file."""
        self.active, self.listed = False, False
        self.work: list[tuple[str, int, str, str]] = []
        self.read: set[str] = set()

    def __call__(self, event: str, args: tuple[Any, ...]) -> None:
        """Take one audit event; refuses to signal another process, which could be Airflow."""
        if not self.active:
            return
        if event == "open":
            if isinstance(args[0], str) and args[0].startswith(self.root):
                self.read.add(args[0])
        elif event in LISTINGS:
            self.listed = self.listed or self.place() is not None
        elif (rule := WORK.get(event)) and not (rule == "kill" and args[0] == os.getpid()):
            self.seen(rule, f"{event} while the file is parsed")
            if rule == "kill":
                raise PermissionError(f"{event} of process {args[0]} while a DAG file is parsed")

    def seen(self, rule: str, why: str) -> None:
        """Note work of a rule, where code of the folder is what does it."""
        if place := self.place():
            self.work.append((*place, rule, why))

    def place(self) -> tuple[str, int] | None:
        """File and line of the folder's code that is at work; None if a library's import is."""
        frame: FrameType | None = sys._getframe(1)
        while frame:
            name = frame.f_code.co_filename
            if name.startswith(self.root):
                return name, frame.f_lineno
            if name.startswith("<frozen importlib"):
                return None
            frame = frame.f_back
        return None


class Parser:
    """In a child: parses one file after the other."""

    def __init__(self, root: str, asked: TextIO, told: FileIO) -> None:
        self.root, self.watch = root, Watch(root)
        sys.addaudithook(self.watch)
        when_imported(TASK_RUNNER, lambda module: self.supervise(module, asked, told))

    def supervise(self, task_runner: Any, asked: TextIO, told: FileIO) -> None:
        """Connect Airflow's own messages to who answers: the dag-processor's manager elsewhere."""
        watch = self.watch

        class Comms(task_runner.CommsDecoder):  # type: ignore[misc]
            def send_request(self, log: Any, msg: Any) -> None:
                watch.seen("top-level-database", f"{type(msg).__name__} while the file is parsed")
                super().send_request(log, msg)

        task_runner.SUPERVISOR_COMMS = Comms(input=asked)
        task_runner.SUPERVISOR_COMMS.request_socket = told

    def parse(self, file: str) -> dict[str, Any]:
        """What Airflow finds in a file, and whether it left a trace in this process."""
        from airflow.models.dagbag import DagBag

        before, surroundings = set(sys.modules), _surroundings()
        self.watch.forget()
        started, self.watch.active = time.perf_counter(), True
        bag = DagBag(
            file, bundle_path=self.root, include_examples=False, safe_mode=True, load_op_links=False
        )
        seconds, self.watch.active = time.perf_counter() - started, False
        errors = [*bag.import_errors.values(), *_unserializable(bag.dags.values())]
        new = {name: sys.modules[name] for name in set(sys.modules) - before}
        local = {name: path for name, module in new.items() if (path := self.inside(module))}
        for name in local:
            del sys.modules[name]
        strangers = {name.partition(".")[0] for name in set(new) - set(local)}
        strangers -= {*sys.stdlib_module_names, "airflow"}
        return {
            "seconds": seconds,
            "dags": [_facts(dag) for dag in bag.dags.values()],
            "errors": errors,
            "work": self.watch.work,
            "needs": sorted({*local.values(), *self.watch.read} - {file}),
            "keep": not (self.watch.work or self.watch.listed),
            "trace": bool(strangers) or surroundings != _surroundings(),
        }

    def inside(self, module: Any) -> str | None:
        """The module's file if it lies in the DAGs folder."""
        path = getattr(module, "__file__", None) or ""
        return path if path.startswith(self.watch.root) else None


def when_imported(name: str, do: Callable[[Any], None]) -> None:
    """Do something with a module that few files need, as soon as it has been imported."""
    if name in sys.modules:
        do(sys.modules[name])
        return

    class Finder(MetaPathFinder):
        def find_spec(self, fullname: str, path: Any, target: Any = None) -> ModuleSpec | None:
            if fullname != name:
                return None
            sys.meta_path.remove(self)
            found = importlib.util.find_spec(name)
            loader: Any = found and found.loader
            execute = loader.exec_module

            def execute_and_do(module: Any) -> None:
                execute(module)
                do(module)

            loader.exec_module = execute_and_do
            return found

    sys.meta_path.insert(0, Finder())


def _unserializable(dags: Iterable[Any]) -> Iterator[str]:
    """Why Airflow could not store DAGs that it could import, as its dag-processor finds out."""
    from airflow.serialization.serialized_objects import SerializedDAG

    for dag in dags:
        try:
            SerializedDAG.to_dict(dag)
        except Exception:
            yield traceback.format_exc()


def _surroundings() -> tuple[Any, ...]:
    return dict(os.environ), list(sys.path), os.getcwd(), threading.active_count()


def _facts(dag: Any) -> dict[str, Any]:
    def told(word: str) -> bool:
        return word in (dag.default_args or {}) or all(
            word in getattr(task, "_BaseOperator__init_kwargs", {})
            or word in getattr(task, "partial_kwargs", {})
            for task in dag.tasks
        )

    has = {"owner": told("owner"), "retries": told("retries"), "tags": bool(dag.tags)}
    return {"dag_id": dag.dag_id, "has": has}
