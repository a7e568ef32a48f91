"""Parse DAG files as Airflow's dag-processor does, and watch their actions by audit events."""

import os
import sys
import threading
import time
import traceback
from collections.abc import Iterable, Iterator
from types import FrameType
from typing import Any

EVENTS = {
    "top-level-network": ("socket.connect", "socket.getaddrinfo"),
    "top-level-database": ("sqlite3.connect",),
    "top-level-process": ("subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "os.fork"),
    "kill": ("os.kill", "os.killpg"),
}
WORK = {event: rule for rule, events in EVENTS.items() for event in events}
# The cache cannot detect a change of a folder's listing.
LISTINGS = {"os.listdir", "os.scandir"}


class Parser:
    """Parse DAG files of a folder, and note what their code does meanwhile."""

    def __init__(self, root: str) -> None:
        # `include` next to the folder can be imported too, as in the services.
        include = os.path.join(os.path.dirname(root), "include")
        self.root, self.inside, self.active = root, (root + os.sep, include + os.sep), False
        sys.addaudithook(self.audit)

    def parse(self, file: str) -> dict[str, Any]:
        """Return Airflow's result for a file, and whether it left a trace in this process."""
        from airflow.models.dagbag import DagBag

        modules, state = set(sys.modules), _process_state()
        self.work: list[tuple[str, int, str, str]] = []
        self.read: set[str] = set()
        self.listed = False
        started, self.active = time.perf_counter(), True
        bag = DagBag(
            file, bundle_path=self.root, include_examples=False, safe_mode=True, load_op_links=False
        )
        seconds, self.active = time.perf_counter() - started, False
        errors = [*bag.import_errors.values(), *_unserializable(bag.dags.values())]
        new = set(sys.modules) - modules
        paths = {name: getattr(sys.modules[name], "__file__", None) or "" for name in new}
        local = {
            name: path
            for name, path in paths.items()
            # A package without __init__.py has no file.
            if path.startswith(self.inside) or (name == "include" and not path)
        }
        for name in local:
            del sys.modules[name]
        foreign = {name.partition(".")[0] for name in new - local.keys()}
        foreign -= {*sys.stdlib_module_names, "airflow"}
        return {
            "seconds": seconds,
            "dags": [_facts(dag) for dag in bag.dags.values()],
            "errors": errors,
            "work": self.work,
            "needs": sorted({*local.values(), *self.read} - {file, ""}),
            "keep": not (self.work or self.listed),
            "trace": bool(foreign) or state != _process_state(),
        }

    def audit(self, event: str, args: tuple[Any, ...]) -> None:
        """Handle an audit event.

        Raises PermissionError for a signal to another process, which could be Airflow.
        """
        if not self.active:
            return
        if event == "open" and isinstance(args[0], str) and args[0].startswith(self.inside):
            self.read.add(args[0])
        elif event in LISTINGS:
            self.listed = self.listed or self.place() is not None
        elif (rule := WORK.get(event)) and not (rule == "kill" and args[0] == os.getpid()):
            self.note(rule, f"{event} while the file is parsed")
            if rule == "kill":
                raise PermissionError(f"{event} of process {args[0]} while a DAG file is parsed")

    def note(self, rule: str, why: str) -> None:
        """Note an action under a rule if code of the folder performs it."""
        if place := self.place():
            self.work.append((*place, rule, why))

    def place(self) -> tuple[str, int] | None:
        """Return file and line of the folder's running code, or None during an import."""
        frame: FrameType | None = sys._getframe(1)
        while frame and not (name := frame.f_code.co_filename).startswith("<frozen importlib"):
            if name.startswith(self.inside):
                return name, frame.f_lineno
            frame = frame.f_back
        return None


def _unserializable(dags: Iterable[Any]) -> Iterator[str]:
    """Yield the errors of DAGs that Airflow can import but not store."""
    from airflow.serialization.serialized_objects import SerializedDAG

    for dag in dags:
        try:
            SerializedDAG.to_dict(dag)
        except Exception:
            yield traceback.format_exc()


def _process_state() -> tuple[Any, ...]:
    return dict(os.environ), list(sys.path), os.getcwd(), threading.active_count()


def _facts(dag: Any) -> dict[str, Any]:
    """Return a DAG's id and queues, and which words it sets by default or for each of its tasks."""
    task_words = [
        {*getattr(task, "_BaseOperator__init_kwargs", {}), *getattr(task, "partial_kwargs", {})}
        for task in dag.tasks
    ]
    has = {
        word: word in (dag.default_args or {}) or all(word in words for words in task_words)
        for word in ("owner", "retries")
    }
    queues = sorted({task.queue for task in dag.tasks})
    return {"dag_id": dag.dag_id, "has": has | {"tags": bool(dag.tags)}, "queues": queues}
