"""Parse DAG files as Airflow's dag-processor does: `python server FOLDER CONNECTION MODULE …`.

The server runs in Airflow's environment and imports no other check. CONNECTION is the number of a
descriptor. The server receives a file and its limit in seconds on it and sends one answer for each.
Airflow is imported once. A file is parsed in a forked child, in a process group of its own. A child
parses the next file only if the last one left no trace in it. If a file fails in a used child, it
is parsed again in a new one.
"""

import gc
import importlib
import json
import logging
import multiprocessing
import os
import resource
import signal
import sys
import time
from contextlib import closing, suppress
from importlib.machinery import ModuleSpec, PathFinder
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import comms
import parser

STACK = str(Path(__file__).resolve().parents[3] / "orchestration/config")
MEMORY = 4 << 30
FORK = multiprocessing.get_context("fork")


class Server:
    """Parse files in a child process, so that no file affects the result of another."""

    def __init__(self, root: str, host: Connection) -> None:
        self.root, self.host = root, host
        self.start()

    def start(self) -> None:
        """Fork a child."""
        self.fresh = True
        self.child, theirs = FORK.Pipe()
        process = FORK.Process(target=_parse, args=(self.root, theirs, self.child, self.host))
        process.start()
        theirs.close()
        assert process.pid
        self.process, self.pid = process, process.pid
        os.setpgid(self.pid, self.pid)

    def close(self) -> None:
        """Kill the child and all processes it started."""
        with suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        self.process.join()
        self.child.close()

    def parse(self, file: str, limit: float) -> dict[str, Any]:
        """Return the answer for a file. A failure in a used child is repeated in a new one."""
        fresh, self.fresh = self.fresh, False
        try:
            answer = self.ask(file, limit)
        except (EOFError, OSError):
            self.process.join(0.2)
            code = self.process.exitcode or 0
            answer = {"how": f"signal {-code}" if code < 0 else f"exit code {code}"}
        # Answers without `trace` come from this process: the child was killed or is too slow.
        if answer.get("trace", True) or answer["errors"]:
            self.close()
            self.start()
        failed = "how" in answer or answer.get("errors")
        return answer if fresh or not failed else self.parse(file, limit)

    def ask(self, file: str, limit: float) -> dict[str, Any]:
        """Return the child's answer, or the limit if there is no answer in time.

        Raises EOFError or OSError if the child exits.
        """
        deadline, waited = time.monotonic() + limit, 0.0
        self.child.send(file)
        while self.child.poll(max(0, deadline + waited - time.monotonic())):
            line = self.child.recv()
            answer: dict[str, Any] = json.loads(line)
            if "seconds" in answer:
                return answer | {"seconds": answer["seconds"] - waited}
            # The file requests a Variable. Airflow's time for the reply does not count.
            started = time.monotonic()
            comms.reply(line, self.child)
            waited += time.monotonic() - started
        return {"limit": limit}


def _parse(root: str, server: Connection, *others: Connection) -> None:
    """Answer for each file in a child process until the server exits."""
    try:
        for connection in others:
            connection.close()
        resource.setrlimit(resource.RLIMIT_DATA, (MEMORY, MEMORY))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        os.dup2(1, 2)
        files = parser.Parser(root)
        comms.connect(server, files.note)
        while True:
            server.send(json.dumps(files.parse(server.recv())))
    finally:
        # Skip exit handlers that a file may have registered.
        os._exit(0)


def _patch_operators() -> None:
    """Define operators as in the services of the stack, so that the same files can be loaded."""
    sys.path.insert(0, STACK)
    from stack_runtime.airflow.patches import operators
    from stack_runtime.shared import patch_registry

    sys.path.remove(STACK)
    for patch in operators.PATCHES:
        patch_registry.load(patch)


class IncludeFinder:
    """Find the package `include` next to the DAGs folder, and nothing else that is there."""

    def __init__(self, root: str) -> None:
        self.parent = os.path.dirname(root)

    def find_spec(self, name: str, *_: Any) -> ModuleSpec | None:
        """Return the package's spec, or None for any other module."""
        return PathFinder.find_spec(name, [self.parent]) if name == "include" else None


def main(root: str, descriptor: str, *modules: str) -> None:
    """Import Airflow and the modules of it that the files use, then answer for each file."""
    # Garbage collection takes a tenth of the imports' time and frees nothing.
    gc.disable()
    logging.disable(logging.CRITICAL)
    _patch_operators()
    from airflow.models.dagbag import DagBag  # noqa: F401
    from airflow.sdk import DAG, task
    from airflow.sdk.execution_time import task_runner  # noqa: F401
    from airflow.serialization.serialized_objects import SerializedDAG

    for name in modules:
        # A missing module is reported for the file that imports it.
        with suppress(Exception):
            importlib.import_module(name)
    # A first DAG makes Airflow import what it loads lazily, once for all files.
    with DAG("first", schedule=None) as dag:
        task(task_id="first")(lambda: None)()
    SerializedDAG.to_dict(dag)
    # DAG files must not see this folder or its modules.
    sys.path[0] = root
    sys.meta_path.insert(0, IncludeFinder(root))
    del sys.modules["comms"], sys.modules["parser"]
    gc.freeze()
    gc.enable()
    with suppress(EOFError), closing(Server(root, Connection(int(descriptor)))) as server:
        server.host.send("ready")
        while True:
            server.host.send(server.parse(*server.host.recv()))


if __name__ == "__main__":
    main(*sys.argv[1:])
