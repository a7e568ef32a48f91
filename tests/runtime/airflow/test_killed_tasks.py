"""What the API server is told of a task whose process ended in silence; the real supervisor."""

import os
import signal
import sys

import pytest
import structlog

from tests.runtime.airflow.supervised import MOMENT, asked_while, patched_supervisor


@pytest.fixture(scope="module")
def supervisor():
    return patched_supervisor()


def killed():
    os.kill(os.getpid(), signal.SIGKILL)


def ends_with_1():
    sys.exit(1)


def tells(**message):
    """A task that tells its end as Airflow's runner does, and is killed before its own."""

    def task():
        from airflow.sdk.execution_time import comms, task_runner

        supervisor = task_runner.CommsDecoder(input=sys.stdin)
        supervisor.get_message()
        kind = getattr(comms, message.pop("kind"))
        supervisor.send_request(structlog.get_logger(), kind(end_date=MOMENT, **message))
        killed()

    return task


def states_told(supervisor, task, may_retry):
    """Run a task's process to its end; each state that went to the API server."""
    asked = asked_while(supervisor, task, may_retry=may_retry)
    return [body["state"] for end, body in asked if end == "state"]


@pytest.mark.parametrize(
    ("task", "may_retry", "told"),
    [
        (killed, True, ["up_for_retry"]),
        (killed, False, ["failed"]),
        (ends_with_1, True, ["up_for_retry"]),
        (tells(kind="RetryTask"), True, ["up_for_retry"]),
        (tells(kind="TaskState", state="failed"), True, ["failed"]),
        (tells(kind="SucceedTask"), True, ["success"]),
    ],
)
def test_a_process_that_ended_in_silence_is_tried_again_where_it_may_be(
    supervisor, task, may_retry, told
):
    assert states_told(supervisor, task, may_retry) == told
