"""Parses DAG files as Airflow's dag-processor does, each apart: `python server FOLDER MODULE …`.

Runs where Airflow is and knows nothing of the other checks. A request is a line of JSON on
standard input ({"file", "limit"}), an answer one on standard output. Airflow is imported once;
a file is parsed in a forked child, in a process group of its own. A child goes on with the next
file only while files leave no trace in it, and whatever looks wrong in a used child is looked at
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
from functools import cached_property
from io import FileIO
from typing import Any, TextIO

from one_file import Parser

MEMORY = 4 << 30


class Supervisor:
    """Answers a DAG file that asks for a Variable or Connection as the dag-processor would.

    By Airflow's own handler, on its own API within this process, from the database.
    """

    def __init__(self) -> None:
        self.answer = b""

    @cached_property
    def client(self) -> Any:
        """Airflow's client of the API, as the dag-processor's manager makes it."""
        from airflow.dag_processing.processor import in_process_api_server
        from airflow.sdk.api.client import Client

        transport = in_process_api_server().transport
        client = Client(base_url=None, token="", dry_run=True, transport=transport)
        client.base_url = "http://in-process.invalid./"
        return client

    def reply(self, line: bytes) -> bytes:
        """The line that answers a line of a file's process."""
        from airflow.dag_processing.processor import DagFileProcessorProcess as Process

        self.answer = b"{}"
        handle: Any = Process._handle_request
        handle(self, Process.decoder.validate_json(line), logging.getLogger(__name__))
        return self.answer + b"\n"

    def send_msg(self, message: Any, **options: Any) -> None:
        """What Airflow's handler answers."""
        self.answer = message.model_dump_json(**options).encode()


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
            self.lines = os.fdopen(self.answers, "rb")
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
        line, deadline, waited = f"{file}\n".encode(), time.monotonic() + limit, 0.0
        while True:
            os.write(self.asks, line)
            if not select.select([self.lines], [], [], max(0, deadline - time.monotonic()))[0]:
                return {"limit": limit}
            said = self.lines.readline()
            if not said.endswith(b"\n"):
                return {"ended": True}
            answer: dict[str, Any] = json.loads(said)
            if "seconds" in answer:
                return answer | {"seconds": answer["seconds"] - waited}
            # A file that asks for a Variable: what Airflow needs for the answer is not its time.
            before = time.monotonic()
            line = self.supervisor.reply(said)
            waited += time.monotonic() - before
            deadline += time.monotonic() - before

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
        # In the place of this folder, which DAG files shall not see.
        sys.path[0] = root
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
