"""Parses DAG files as Airflow's dag-processor does, each apart: `python parse_server.py FOLDER`.

Runs where Airflow is and knows nothing of the other checks. A request is a line of JSON on
standard input ({"file", "limit"}), an answer one on standard output. Airflow is imported once;
a file is parsed in a forked child, in a process group of its own. A child goes on with the next
file only while files leave no trace in it, and whatever looks wrong in a used child is looked at
again in a fresh one.
"""

import gc
import importlib
import json
import os
import resource
import select
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cached_property
from types import FrameType
from typing import Any, TextIO

MEMORY = 4 << 30
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


class Supervisor:
    """Answers a DAG file that asks for a Variable or Connection as the dag-processor would.

    By Airflow's own handler, on its own API within this process, from the database.
    """

    def __init__(self, watch: Watch) -> None:
        self.lock, self.watch = threading.RLock(), watch
        self.answer: Any = None

    @cached_property
    def client(self) -> Any:
        """Airflow's client of the API, as the dag-processor's manager makes it."""
        from airflow.dag_processing.processor import in_process_api_server
        from airflow.sdk.api.client import Client

        client = Client(
            base_url=None, token="", dry_run=True, transport=in_process_api_server().transport
        )
        client.base_url = "http://in-process.invalid./"
        return client

    def send_request(self, log: Any, msg: Any) -> None:
        """What a file asks."""
        from airflow.dag_processing.processor import DagFileProcessorProcess

        self.answer = None
        self.watch.seen("top-level-database", f"{type(msg).__name__} while the file is parsed")
        self.watch.active = False
        try:
            handle: Any = DagFileProcessorProcess._handle_request
            handle(self, msg, log)
        finally:
            self.watch.active = True

    def send_msg(self, msg: Any, **options: Any) -> None:
        """What Airflow's handler answers."""
        self.answer = msg

    def get_message(self) -> Any:
        """What the file gets."""
        return self.answer


class Parser:
    """In a child: parses one file after the other."""

    def __init__(self, root: str) -> None:
        from airflow.sdk.execution_time import task_runner

        self.root, self.watch = root, Watch(root)
        sys.addaudithook(self.watch)
        task_runner.SUPERVISOR_COMMS = Supervisor(self.watch)

    def parse(self, file: str) -> dict[str, Any]:
        """What Airflow finds in a file, and whether it left a trace in this process."""
        from airflow.dag_processing.processor import _serialize_dags
        from airflow.models.dagbag import DagBag

        before, surroundings = set(sys.modules), _surroundings()
        self.watch.forget()
        started, self.watch.active = time.perf_counter(), True
        bag = DagBag(
            file, bundle_path=self.root, include_examples=False, safe_mode=True, load_op_links=False
        )
        seconds, self.watch.active = time.perf_counter() - started, False
        _, unserializable = _serialize_dags(bag, _Silent())
        new = {name: sys.modules[name] for name in set(sys.modules) - before}
        local = {name: path for name, module in new.items() if (path := self.inside(module))}
        for name in local:
            del sys.modules[name]
        strangers = {name.partition(".")[0] for name in set(new) - set(local)}
        strangers -= {*sys.stdlib_module_names, "airflow"}
        return {
            "seconds": seconds,
            "dags": [_facts(dag) for dag in bag.dags.values()],
            "errors": list({**bag.import_errors, **unserializable}.values()),
            "work": self.watch.work,
            "needs": sorted({*local.values(), *self.watch.read} - {file}),
            "keep": not (self.watch.work or self.watch.listed),
            "trace": bool(strangers) or surroundings != _surroundings(),
        }

    def inside(self, module: Any) -> str | None:
        """The module's file if it lies in the DAGs folder."""
        path = getattr(module, "__file__", None) or ""
        return path if path.startswith(self.watch.root) else None


class _Silent:
    """A log that nobody reads: what it would tell is in the answer."""

    def exception(self, *words: Any, **more: Any) -> None:
        """Airflow tells here what did not serialize."""


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


class Child:
    """A forked parser and the two pipes to it."""

    def __init__(self, root: str) -> None:
        (asked, self.asks), (self.answers, told) = os.pipe(), os.pipe()
        self.used, self.pid = False, os.fork()
        # In both processes: whichever comes first, the group is there before it is needed.
        os.setpgid(self.pid, self.pid)
        if self.pid:
            os.close(asked)
            os.close(told)
            self.lines = os.fdopen(self.answers, "rb")
            return
        try:
            os.close(self.asks)
            os.close(self.answers)
            _serve(root, os.fdopen(asked), os.fdopen(told, "w"))
        finally:
            os._exit(0)

    def ask(self, file: str, limit: float) -> dict[str, Any]:
        """Its answer; where it has none within `limit` seconds or ended, that."""
        os.write(self.asks, f"{file}\n".encode())
        self.fresh, self.used = not self.used, True
        if not select.select([self.lines], [], [], limit)[0]:
            return {"limit": limit}
        line = self.lines.readline()
        return json.loads(line) if line.endswith(b"\n") else {"ended": True}

    def end(self) -> str:
        """End it with all it started; how it had ended if it was gone already."""
        gone, status = os.waitpid(self.pid, os.WNOHANG)
        deadline = time.monotonic() + 0.2
        while not gone and time.monotonic() < deadline and _no_more(self.lines):
            gone, status = os.waitpid(self.pid, os.WNOHANG)
        with suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        if not gone:
            os.waitpid(self.pid, 0)
        os.close(self.asks)
        self.lines.close()
        code = os.waitstatus_to_exitcode(status)
        return f"signal {-code}" if code < 0 else f"exit code {code}"


def _no_more(lines: Any) -> bool:
    """Whether a pipe's other end is closed: its process has ended, or is about to."""
    return bool(select.select([lines], [], [], 0)[0])


def _serve(root: str, asked: TextIO, told: TextIO) -> None:
    resource.setrlimit(resource.RLIMIT_DATA, (MEMORY, MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    nothing = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(nothing, stream)
    parser = Parser(root)
    for line in asked:
        told.write(json.dumps(parser.parse(line.rstrip("\n"))) + "\n")
        told.flush()


class Server:
    """Gives files to children and makes sure that each is judged alone."""

    def __init__(self, root: str) -> None:
        self.root, self.child = root, Child(root)

    def parse(self, file: str, limit: float) -> dict[str, Any]:
        """What a file is; again in a fresh child where a used one saw something wrong."""
        answer = self.ask(file, limit)
        if not self.child_was_fresh and (answer.get("errors") or "how" in answer):
            answer = self.ask(file, limit)
        return answer

    def ask(self, file: str, limit: float) -> dict[str, Any]:
        """One child's answer; it is replaced where the file left a trace in it."""
        answer = self.child.ask(file, limit)
        self.child_was_fresh = self.child.fresh
        lost = "ended" in answer or "limit" in answer
        if lost or answer["trace"] or answer["errors"]:
            how = self.child.end()
            answer |= {"how": how} if "ended" in answer else {}
            self.child = Child(self.root)
        return answer


@contextmanager
def _protocol() -> Iterator[tuple[TextIO, TextIO]]:
    """Standard input and output for requests alone: what files print goes nowhere."""
    asked, told = os.fdopen(os.dup(0)), os.fdopen(os.dup(1), "w")
    nothing = os.open(os.devnull, os.O_RDWR)
    os.dup2(nothing, 0)
    os.dup2(nothing, 1)
    yield asked, told


def _first_dag() -> None:
    """A first DAG: what Airflow loads only when it is used, it loads here, once for all files."""
    from airflow.sdk import DAG, task
    from airflow.serialization.serialized_objects import SerializedDAG

    with DAG("first", schedule=None) as dag:
        task(task_id="first")(lambda: None)()
    SerializedDAG.to_dict(dag)


def main(root: str, modules: list[str]) -> None:
    """Import Airflow and those of its modules that the files use, then answer requests."""
    with _protocol() as (asked, told):
        import logging

        import airflow.dag_processing.processor
        import airflow.sdk.execution_time.task_runner  # noqa: F401

        logging.disable(logging.CRITICAL)
        for name in modules:
            # One that is missing is told with the file that imports it.
            with suppress(Exception):
                importlib.import_module(name)
        _first_dag()
        sys.path.insert(0, root)
        gc.collect()
        gc.freeze()
        server = Server(root)
        told.write("ready\n")
        told.flush()
        for line in asked:
            request = json.loads(line)
            told.write(json.dumps(server.parse(request["file"], request["limit"])) + "\n")
            told.flush()
        server.child.end()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
