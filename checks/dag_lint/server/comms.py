"""Who answers a DAG file that asks for something while it is parsed."""

import logging
from functools import cached_property
from typing import Any


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
        """What answers a line of a file's process, if anything does."""
        from airflow.dag_processing.processor import DagFileProcessorProcess as Process

        # Not every request has an answer: nobody would read one to PutVariable.
        self.answer = b""
        handle: Any = Process._handle_request
        handle(self, Process.decoder.validate_json(line), logging.getLogger(__name__))
        return self.answer

    def send_msg(self, message: Any, **options: Any) -> None:
        """What Airflow's handler answers."""
        self.answer = message.model_dump_json(**options).encode() + b"\n"
