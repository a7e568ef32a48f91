"""Pass requests of a DAG file, such as for a Variable, from the child to the server."""

import functools
import json
import logging
from collections.abc import Callable
from multiprocessing.connection import Connection
from types import SimpleNamespace
from typing import Any


def connect(server: Connection, note: Callable[[str, str], None]) -> None:
    """Connect Airflow's client in this process to the server, and note each request."""
    from airflow.sdk.execution_time import task_runner

    def write(line: bytes) -> None:
        note("top-level-database", f"{json.loads(line)['type']} while the file is parsed")
        server.send(line)

    streams = SimpleNamespace(readline=server.recv, write=write)
    task_runner.SUPERVISOR_COMMS = task_runner.CommsDecoder(input=streams)
    task_runner.SUPERVISOR_COMMS.request_socket = streams


def reply(line: bytes, child: Connection) -> None:
    """Answer a request for a Variable or Connection as the dag-processor would.

    Airflow's own handler and in-process API read the answer from the database.
    """
    supervisor = _supervisor()
    supervisor.child = child
    # Some requests, such as PutVariable, have no answer.
    supervisor._handle_request(supervisor.decoder.validate_json(line), logging.getLogger(__name__))


@functools.cache
def _supervisor() -> Any:
    """Return Airflow's dag-processor for a file, without a process. Few files need it."""
    from airflow.dag_processing.processor import DagFileProcessorProcess

    class Supervisor(DagFileProcessorProcess):  # type: ignore[misc]
        child: Connection

        def __init__(self) -> None: ...

        def send_msg(self, msg: Any, **options: Any) -> None:
            self.child.send(msg.model_dump_json(**options))

    return Supervisor()
