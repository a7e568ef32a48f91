"""Parses DAG files as Airflow's dag-processor does, each apart: `python server FOLDER MODULE …`.

Runs where Airflow is and knows nothing of the other checks. A request is a line of JSON on
standard input ({"file", "limit"}), an answer one on standard output. Airflow is imported once;
a file is parsed in a forked child, in a process group of its own. A child goes on with the next
file only while files leave no trace in it; an error or an end that a used child saw is looked at
again in a fresh one.
"""

import gc
import importlib
import json
import logging
import os
import resource
import select
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from io import FileIO
from typing import Any, TextIO

from comms import Supervisor
from parser import Parser

MEMORY = 4 << 30


class Child:
    """A forked parser and the two pipes to it."""

    def __init__(self, root: str, supervisor: Supervisor) -> None:
        self.supervisor = supervisor
        (asked, self.asks), (self.answers, told) = os.pipe(), os.pipe()
        self.used, self.pid = False, os.fork()
        # In both processes: whichever comes first, the group is there before it is needed.
        os.setpgid(self.pid, self.pid)
        if self.pid:
            os.close(asked)
            os.close(told)
            self.said = b""
            return
        try:
            os.close(self.asks)
            os.close(self.answers)
            _serve(root, os.fdopen(asked), FileIO(told, "w"))
        finally:
            os._exit(0)

    def ask(self, file: str, limit: float) -> dict[str, Any]:
        """Its answer; where it has none within `limit` seconds or ended, that."""
        self.fresh, self.used = not self.used, True
        deadline, waited = time.monotonic() + limit, 0.0
        os.write(self.asks, f"{file}\n".encode())
        while True:
            line = self.line(deadline + waited)
            if line is None:
                return {"limit": limit}
            if not line:
                return {"ended": True}
            answer: dict[str, Any] = json.loads(line)
            if "seconds" in answer:
                return answer | {"seconds": answer["seconds"] - waited}
            # A file that asks for a Variable: what Airflow needs for the answer is not its time.
            before = time.monotonic()
            os.write(self.asks, self.supervisor.reply(line))
            waited += time.monotonic() - before

    def line(self, deadline: float) -> bytes | None:
        """The next line it says; blank if it ended before one, None if it says none in time."""
        while b"\n" not in self.said:
            if not _readable(self.answers, max(0, deadline - time.monotonic())):
                return None
            if not (more := os.read(self.answers, 1 << 16)):
                return b""
            self.said += more
        line, _, self.said = self.said.partition(b"\n")
        return line

    def end(self) -> str:
        """End it with all it started; how it had ended if it was gone already."""
        gone, status = os.waitpid(self.pid, os.WNOHANG)
        deadline = time.monotonic() + 0.2
        while not gone and time.monotonic() < deadline and _readable(self.answers):
            gone, status = os.waitpid(self.pid, os.WNOHANG)
        with suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        if not gone:
            os.waitpid(self.pid, 0)
        os.close(self.asks)
        os.close(self.answers)
        code = os.waitstatus_to_exitcode(status)
        return f"signal {-code}" if code < 0 else f"exit code {code}"


def _readable(pipe: int, seconds: float = 0) -> bool:
    """Whether a pipe has something to read, or its end: its process has ended, or is about to."""
    return bool(select.select([pipe], [], [], seconds)[0])


def _serve(root: str, asked: TextIO, told: FileIO) -> None:
    resource.setrlimit(resource.RLIMIT_DATA, (MEMORY, MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    nothing = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(nothing, stream)
    parser = Parser(root, asked, told)
    for line in iter(asked.readline, ""):
        told.write(json.dumps(parser.parse(line.rstrip("\n"))).encode() + b"\n")


class Server:
    """Gives files to children and makes sure that each is judged alone."""

    def __init__(self, root: str) -> None:
        self.root, self.supervisor = root, Supervisor()
        self.child = Child(root, self.supervisor)

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
            self.child = Child(self.root, self.supervisor)
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
        # Looking for garbage takes a tenth of the imports' time, and finds none.
        gc.disable()
        import airflow.models.dagbag  # noqa: F401

        logging.disable(logging.CRITICAL)
        for name in modules:
            # One that is missing is told with the file that imports it.
            with suppress(Exception):
                importlib.import_module(name)
        _first_dag()
        # In the place of this folder, which DAG files shall not see, nor its modules.
        sys.path[0] = root
        for name in (Parser.__module__, Supervisor.__module__):
            del sys.modules[name]
        gc.freeze()
        gc.enable()
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
