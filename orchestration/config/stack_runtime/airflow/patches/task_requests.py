"""Correct what a task sends to the API server, and show it when the server refuses.

A task's process sends its requests to its supervisor, which sends them to the API server.
"""

import math
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import quote

from stack_runtime.shared.patch_registry import Kind, Patch

SDK = "apache-airflow-task-sdk"
SUPERVISOR = "airflow.sdk.execution_time.supervisor"
# Requests for whose answer a task waits. The dag-processor and the triggerer send none of them.
ANSWERED = ("SetXCom", "DeleteXCom", "SkipDownstreamTasks")
# Requests for whose answer it does not wait. It would take an error for the next request's answer.
UNREAD = ("SetRenderedFields", "SucceedTask", "RetryTask", "DeferTask", "RescheduleTask")


def quote_paths(client: Any) -> None:
    """Quote the paths of requests, which contain keys of XComs and variables as they are."""
    request = client.Client.request

    def quoted(self: Any, method: str, url: str, **options: Any) -> Any:
        return request(self, method, quote(url), **options)

    client.Client.request = quoted


def keep_numbers(serde: Any) -> None:
    """Serialize NaN, infinities and NumPy's numbers so that the next task receives them."""
    serialize = serde.serialize

    def with_all_numbers(o: Any, depth: int = 0) -> Any:
        numpy = sys.modules.get("numpy")
        if numpy and isinstance(o, (numpy.bool_, numpy.floating)):
            o = o.item()
        if isinstance(o, float) and not math.isfinite(o):
            # JSON has no such numbers, but Airflow restores NumPy's from text.
            return serde.encode("numpy.float64", 1, str(o))
        return serialize(o, depth)

    serde.serialize = with_all_numbers


def wait_for_answers(task_runner: Any) -> None:
    """Make a task wait until its XComs are stored, and raise the error if they are not."""
    send_request = task_runner.CommsDecoder.send_request

    def send_and_wait(self: Any, log: Any, msg: Any) -> None:
        if type(msg).__name__ not in ANSWERED:
            send_request(self, log, msg)
            return
        with self.lock:
            send_request(self, log, msg)
            self.get_message()

    task_runner.CommsDecoder.send_request = send_and_wait


def answer_requests(supervisor: Any) -> None:
    """Answer the requests for which tasks wait, and no others. Airflow only answers with errors."""
    from airflow.sdk.execution_time.comms import OKResponse

    class Answering(supervisor.ActivitySubprocess):  # type: ignore[misc]
        def _handle_request(self, msg: Any, log: Any) -> None:
            request = type(msg).__name__
            try:
                super()._handle_request(msg, log)
            except supervisor.ServerResponseError:
                if request not in UNREAD:
                    raise
            else:
                if request in ANSWERED:
                    self.send_msg(OKResponse(ok=True))

    supervisor.ActivitySubprocess = Answering


def log_refusals(supervisor: Any) -> None:
    """Write the reason to the task's log when the API server does not accept a request."""
    http_error = supervisor.httpx.HTTPError

    class Logged(supervisor.ActivitySubprocess):  # type: ignore[misc]
        @contextmanager
        def reason_in_log(self, purpose: str) -> Iterator[None]:
            try:
                yield
            except http_error as error:
                if not hasattr(error, "is_in_log"):
                    reason = f"{error} {getattr(error, 'detail', None) or ''}".strip()
                    self.process_log.error(f"The API server did not {purpose}: {reason}")
                    error.is_in_log = True
                raise

        def _on_child_started(self, *args: Any, **options: Any) -> None:
            with self.reason_in_log("let this task start"):
                super()._on_child_started(*args, **options)

        def _handle_request(self, msg: Any, *args: Any) -> None:
            with self.reason_in_log(f"accept {type(msg).__name__}"):
                super()._handle_request(msg, *args)

        def wait(self) -> int:
            with self.reason_in_log("accept the end of this task"):
                code: int = super().wait()
            return code

    supervisor.ActivitySubprocess = Logged


PATCHES = (
    Patch(
        name="quote-paths",
        module="airflow.sdk.api.client",
        needs=("Client.request",),
        distribution=SDK,
        versions=">=1.0.1,<1.2",
        kind=Kind.CORRECTNESS,
        reason="XComs and variables whose keys contain ?, # or % are stored under another key.",
        upstream="none",
        delete_when="Airflow quotes the keys",
        apply=quote_paths,
    ),
    Patch(
        name="keep-numbers-in-xcoms",
        module="airflow.serialization.serde",
        needs=("serialize", "encode"),
        distribution="apache-airflow-core",
        versions=">=3.0.1,<3.2",
        kind=Kind.CORRECTNESS,
        reason="NaN reaches the next task as None, and NumPy's booleans and float32 fail the task.",
        upstream="apache/airflow#51178, #53690",
        delete_when="Airflow stores NaN in XComs; 3.1 stores NumPy's types",
        apply=keep_numbers,
    ),
    Patch(
        name="wait-for-answers",
        module="airflow.sdk.execution_time.task_runner",
        needs=(
            "CommsDecoder.send_request",
            "CommsDecoder.get_message",
            "CommsDecoder.lock",
        ),
        distribution=SDK,
        versions=">=1.0.1,<1.0.3",
        kind=Kind.CORRECTNESS,
        reason="A task succeeds although the API server did not store its XComs.",
        upstream="apache/airflow#51924",
        delete_when="Airflow 3.0.3",
        apply=wait_for_answers,
    ),
    Patch(
        name="log-refusals",
        module=SUPERVISOR,
        needs=(
            "httpx.HTTPError",
            "ActivitySubprocess._on_child_started",
            "ActivitySubprocess._handle_request",
            "ActivitySubprocess.process_log",
            "ActivitySubprocess.wait",
        ),
        distribution=SDK,
        versions=">=1.0.1,<1.1",
        kind=Kind.CORRECTNESS,
        reason="The log of a task that the API server did not let start is empty.",
        upstream="apache/airflow#70290 (open)",
        delete_when="Airflow logs it itself",
        apply=log_refusals,
    ),
    # After the previous one, which logs what this one drops.
    Patch(
        name="answer-requests",
        module=SUPERVISOR,
        needs=(
            "ServerResponseError",
            "ActivitySubprocess._handle_request",
            "ActivitySubprocess.send_msg",
            "airflow.sdk.execution_time.comms:OKResponse",
        ),
        distribution=SDK,
        versions=">=1.0.1,<1.0.3",
        kind=Kind.CORRECTNESS,
        reason="A task with wait-for-answers waits forever after it has stored an XCom.",
        upstream="apache/airflow#51924",
        delete_when="Airflow 3.0.3",
        apply=answer_requests,
    ),
)
