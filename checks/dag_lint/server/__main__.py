"""Parses DAG files as Airflow's dag-processor does: `python server FOLDER CONNECTION MODULE …`.

Runs where Airflow is and knows nothing of the other checks. Gets a file and its limit in seconds
on the connection (the number of a descriptor), sends an answer for each. Airflow is imported once;
a file is parsed in a forked child, in a process group of its own. A child goes on with the next
file only while files leave no trace in it; an error or an end that a used child saw is looked at
again in a fresh one.
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
from multiprocessing.connection import Connection
from typing import Any

import comms
import parser

MEMORY = 4 << 30
FORK = multiprocessing.get_context("fork")


class Server:
    """Give files to a child, and make sure that each is judged alone."""

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
        """End the child with all it started."""
        with suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        self.process.join()
        self.child.close()

    def parse(self, file: str, limit: float) -> dict[str, Any]:
        """Return what a file is; from a fresh child where a used one saw something wrong."""
        fresh, self.fresh = self.fresh, False
        try:
            answer = self.ask(file, limit)
        except (EOFError, OSError):
            self.process.join(0.2)
            code = self.process.exitcode or 0
            answer = {"how": f"signal {-code}" if code < 0 else f"exit code {code}"}
        # An answer without a trace is none of the child's own.
        if answer.get("trace", True) or answer["errors"]:
            self.close()
            self.start()
        wrong = "how" in answer or answer.get("errors")
        return answer if fresh or not wrong else self.parse(file, limit)

    def ask(self, file: str, limit: float) -> dict[str, Any]:
        """Return the child's answer, or the limit if it has none by then.

        Raises EOFError or OSError if the child ends.
        """
        deadline, waited = time.monotonic() + limit, 0.0
        self.child.send(file)
        while self.child.poll(max(0, deadline + waited - time.monotonic())):
            line = self.child.recv()
            answer: dict[str, Any] = json.loads(line)
            if "seconds" in answer:
                return answer | {"seconds": answer["seconds"] - waited}
            # A file that asks for a Variable: what Airflow needs for the answer is not its time.
            before = time.monotonic()
            comms.reply(line, self.child)
            waited += time.monotonic() - before
        return {"limit": limit}


def _parse(root: str, server: Connection, *others: Connection) -> None:
    """In a child: answer for each file until the server ends."""
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
        # Nothing that a file left to do at the end is done.
        os._exit(0)


def main(root: str, descriptor: str, *modules: str) -> None:
    """Import Airflow and those of its modules that the files use, then answer for each file."""
    # Looking for garbage takes a tenth of the imports' time, and finds none.
    gc.disable()
    from airflow.models.dagbag import DagBag  # noqa: F401
    from airflow.sdk import DAG, task
    from airflow.sdk.execution_time import task_runner  # noqa: F401
    from airflow.serialization.serialized_objects import SerializedDAG

    logging.disable(logging.CRITICAL)
    for name in modules:
        # One that is missing is told with the file that imports it.
        with suppress(Exception):
            importlib.import_module(name)
    # A first DAG: what Airflow imports only when it is used, it imports here, once for all files.
    with DAG("first", schedule=None) as dag:
        task(task_id="first")(lambda: None)()
    SerializedDAG.to_dict(dag)
    # In the place of this folder, which DAG files shall not see, nor its modules.
    sys.path[0] = root
    del sys.modules["comms"], sys.modules["parser"]
    gc.freeze()
    gc.enable()
    with suppress(EOFError), closing(Server(root, Connection(int(descriptor)))) as server:
        server.host.send("ready")
        while True:
            server.host.send(server.parse(*server.host.recv()))


if __name__ == "__main__":
    main(*sys.argv[1:])
