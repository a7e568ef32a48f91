"""Test the state that the supervisor reports for a task whose process was killed."""

import os
import signal
import sys

import pytest
import structlog

from tests.runtime.airflow.supervised import TIMESTAMP, patched_supervisor, requests_of


@pytest.fixture(scope="module")
def supervisor():
    return patched_supervisor()


def killed():
    os.kill(os.getpid(), signal.SIGKILL)


def exit_with_1():
    sys.exit(1)


def report_then_die(**message):
    """Return a task that reports its state as Airflow's runner does, and is then killed."""

    def task():
        from airflow.sdk.execution_time import comms, task_runner

        supervisor = task_runner.CommsDecoder(input=sys.stdin)
        supervisor.get_message()
        kind = getattr(comms, message.pop("kind"))
        supervisor.send_request(structlog.get_logger(), kind(end_date=TIMESTAMP, **message))
        killed()

    return task


def reported_states(supervisor, task, may_retry):
    """Run a task's process, and return the states that were reported to the API server."""
    requests = requests_of(supervisor, task, may_retry=may_retry)
    return [body["state"] for name, body in requests if name == "state"]


@pytest.mark.parametrize(
    ("task", "may_retry", "states"),
    [
        (killed, True, ["up_for_retry"]),
        (killed, False, ["failed"]),
        (exit_with_1, True, ["up_for_retry"]),
        (report_then_die(kind="RetryTask"), True, ["up_for_retry"]),
        (report_then_die(kind="TaskState", state="failed"), True, ["failed"]),
        (report_then_die(kind="SucceedTask"), True, ["success"]),
    ],
)
def test_killed_task_is_retried_if_allowed(supervisor, task, may_retry, states):
    assert reported_states(supervisor, task, may_retry) == states
