"""What the API server is told of a task whose process ended in silence; the real supervisor."""

import importlib
import json
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
import structlog
from uuid6 import uuid7

MOMENT = "2026-01-01T00:00:00Z"
CONFIG = Path(__file__).parents[2] / "orchestration/config"


@pytest.fixture(scope="module")
def supervisor() -> Any:
    """Airflow's, imported after ours has asked to be told of it, as in a worker."""
    sys.path.insert(0, str(CONFIG))
    importlib.import_module("retrying")
    sys.path.remove(str(CONFIG))
    return importlib.import_module("airflow.sdk.execution_time.supervisor")


def killed() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def ends_with_1() -> None:
    sys.exit(1)


def tells(**message: Any) -> Callable[[], None]:
    """A task that tells its end as Airflow's runner does, and is killed before its own."""

    def task() -> None:
        from airflow.sdk.execution_time import comms, task_runner

        supervisor = task_runner.CommsDecoder(input=sys.stdin)
        supervisor.get_message()
        kind = getattr(comms, message.pop("kind"))
        supervisor.send_request(structlog.get_logger(), kind(end_date=MOMENT, **message))
        killed()

    return task


def states_told(supervisor: Any, task: Callable[[], None], may_retry: bool) -> list[str]:
    """Run a task's process to its end; each state that went to the API server."""
    told = []

    def answer(request: httpx.Request) -> httpx.Response:
        if request.url.path.endswith("/run"):
            run = {"dag_id": "d", "run_id": "r", "run_type": "manual", "consumed_asset_events": []}
            run |= dict.fromkeys(("start_date", "run_after"), MOMENT)
            context = {"dag_run": run, "max_tries": 2, "should_retry": may_retry}
            return httpx.Response(200, json=context)
        if request.url.path.endswith("/state"):
            told.append(json.loads(request.content)["state"])
        return httpx.Response(200, json={})

    from airflow.executors.workloads import BundleInfo
    from airflow.sdk.api.client import Client
    from airflow.sdk.api.datamodels._generated import TaskInstance

    with Client(base_url="http://x", token="", transport=httpx.MockTransport(answer)) as client:
        process = supervisor.ActivitySubprocess.start(
            dag_rel_path="x.py",
            what=TaskInstance(id=uuid7(), task_id="t", dag_id="d", run_id="r", try_number=1),
            bundle_info=BundleInfo(name="b", version=None),
            client=client,
            target=task,
        )
        process.wait()
    return told


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
    supervisor: Any, task: Callable[[], None], may_retry: bool, told: list[str]
) -> None:
    assert states_told(supervisor, task, may_retry) == told
