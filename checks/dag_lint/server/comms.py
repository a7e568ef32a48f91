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

    if sends_frames():
        task_runner.SUPERVISOR_COMMS = _client(task_runner.CommsDecoder, write, server)
        return
    streams = SimpleNamespace(readline=server.recv, write=write)
    task_runner.SUPERVISOR_COMMS = task_runner.CommsDecoder(input=streams)
    task_runner.SUPERVISOR_COMMS.request_socket = streams


def sends_frames() -> bool:
    """Return whether Airflow's client sends frames, as since 3.0.3, or lines of JSON."""
    from airflow.sdk.execution_time import task_runner

    return hasattr(task_runner.CommsDecoder, "send")


def _client(decoder: Any, write: Callable[[bytes], None], server: Connection) -> Any:
    """Return Airflow's client for frames, with the server's connection instead of a socket."""

    class Client(decoder):  # type: ignore[misc]
        def send(self, msg: Any) -> Any:
            write(msg.model_dump_json().encode())
            return self._from_frame(SimpleNamespace(**server.recv()))

    return Client(socket=None)


def reply(line: bytes, child: Connection) -> None:
    """Answer a request for a Variable or Connection as the dag-processor would.

    Airflow's own handler and in-process API read the answer from the database.
    """
    supervisor = _supervisor()
    supervisor.child = child
    # Without frames, some requests, such as PutVariable, have no answer.
    request_id = (0,) if sends_frames() else ()
    log = logging.getLogger(__name__)
    supervisor._handle_request(supervisor.decoder.validate_json(line), log, *request_id)


@functools.cache
def _supervisor() -> Any:
    """Return Airflow's dag-processor for a file, without a process. Few files need it."""
    from airflow.dag_processing.processor import DagFileProcessorProcess

    class Supervisor(DagFileProcessorProcess):  # type: ignore[misc]
        child: Connection

        def __init__(self) -> None: ...

        def send_msg(
            self, msg: Any, request_id: int | None = None, error: Any = None, **options: Any
        ) -> None:
            if request_id is None:
                self.child.send(msg.model_dump_json(**options))
                return
            body, failure = (one and one.model_dump(mode="json", **options) for one in (msg, error))
            self.child.send({"body": body, "error": failure})

    supervisor = Supervisor()
    if sends_frames():
        supervisor.client = _in_process_client()
    return supervisor


def _in_process_client() -> Any:
    """Return a client of Airflow's execution API in this process, as the dag-processor has one."""
    from airflow.api_fastapi.execution_api.app import InProcessExecutionAPI
    from airflow.sdk.api.client import Client

    transport = InProcessExecutionAPI().transport
    client = Client(base_url=None, token="", dry_run=True, transport=transport)
    client.base_url = "http://in-process.invalid./"
    return client
