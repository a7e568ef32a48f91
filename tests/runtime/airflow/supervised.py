"""Run a task in the real supervisor with a stub of the API server, patched as in the services."""

import importlib
import json
import os
import sys

import httpx
import pytest
from uuid6 import uuid7

from tests.support.process import run
from tests.support.repository import ROOT

TIMESTAMP = "2026-01-01T00:00:00Z"
CONFIG = ROOT / "orchestration/config"


def runtime(name):
    """Import a module of `stack_runtime`."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(CONFIG))
        return importlib.import_module(f"stack_runtime.{name}")


def output_lines(code, **variables):
    """Run code in a process of Airflow with all patches, and return the lines that it prints."""
    environment = {**os.environ, "PYTHONPATH": str(CONFIG), **variables}
    result = run(sys.executable, "-P", "-W", "ignore", "-c", code, env=environment)
    assert result.returncode == 0, result.stderr[-3000:]
    return result.stdout.splitlines()


def patched_supervisor():
    """Import Airflow's task supervisor with all patches, as in a worker."""
    # Airflow imports the configuration before the cluster policy.
    importlib.import_module("airflow.configuration")
    runtime("airflow.cluster_policy")
    return importlib.import_module("airflow.sdk.execution_time.supervisor")


def requests_of(supervisor, task, *, may_retry=False, refuses=lambda name: False):
    """Run a task's process, and return its requests: last part of the URL path, and body.

    The API server refuses the requests for whose name `refuses` returns true.
    """
    from airflow.executors.workloads import BundleInfo
    from airflow.sdk.api.datamodels._generated import TaskInstance

    requests = []

    def answer(request):
        name = request.url.path.rpartition("/")[2]
        requests.append((name, json.loads(request.content or "null")))
        if refuses(name):
            return httpx.Response(409, json={"detail": {"reason": "not_running"}})
        if name != "run":
            return httpx.Response(200, json={})
        run = {"dag_id": "d", "run_id": "r", "run_type": "manual", "consumed_asset_events": []}
        run |= dict.fromkeys(("start_date", "run_after"), TIMESTAMP)
        context = {"dag_run": run, "max_tries": 2, "should_retry": may_retry}
        return httpx.Response(200, json=context)

    transport = httpx.MockTransport(answer)
    with supervisor.Client(base_url="http://x", token="", transport=transport) as client:
        supervisor.ActivitySubprocess.start(
            dag_rel_path="x.py",
            what=TaskInstance(id=uuid7(), task_id="t", dag_id="d", run_id="r", try_number=1),
            bundle_info=BundleInfo(name="b", version=None),
            client=client,
            target=task,
        ).wait()
    return requests
