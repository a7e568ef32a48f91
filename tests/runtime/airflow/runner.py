"""Run tasks in Airflow's real supervisor and runner, with a stub of the API server."""

import json
from datetime import datetime
from types import SimpleNamespace

import httpx
from airflow.sdk import DAG
from uuid6 import uuid7

from tests.runtime.airflow.supervised import TIMESTAMP

RUN = {"dag_id": "d", "run_id": "r", "run_type": "manual", "consumed_asset_events": []}
RUN |= dict.fromkeys(("start_date", "run_after"), TIMESTAMP)


class Log:
    """A task's log, which is not in a file."""

    _logger = None

    def __init__(self):
        self.lines = []

    def error(self, event, **values):
        self.lines.append(event)

    warning = error

    def log(self, level, event, **values):
        self.lines.append(f"{event} {values}")


class Api:
    """A stub of the API server, which stores requests and fails some of them, by name."""

    def __init__(self, errors=None, run=RUN):
        self.errors, self.run = errors or {}, run
        self.xcoms, self.states, self.skipped = {}, [], []

    def __call__(self, request):
        name = request.url.path.rpartition("/")[2]
        if error := self.errors.get(name):
            return error if isinstance(error, httpx.Response) else self.fail(error)
        if name == "run":
            context = {"dag_run": self.run, "max_tries": 0, "should_retry": False}
            return httpx.Response(200, json=context)
        self.store(name, request.method, json.loads(request.content or "null"))
        return httpx.Response(200, json={})

    def store(self, name, method, body):
        if name == "state":
            self.states.append(body["state"])
        elif name == "skip-downstream":
            self.skipped += body["tasks"]
        elif method == "POST":
            self.xcoms[name] = body

    def fail(self, error):
        raise error


def in_runner(define_tasks, schedule=None):
    """Return the target of a process that runs the task `t` of a DAG in Airflow's runner."""

    def target():
        from airflow.sdk.execution_time import task_runner

        start = datetime(2025, 1, 1)
        with DAG("d", schedule=schedule, start_date=start, catchup=False) as dag:
            define_tasks()

        def parse(what, log):
            return task_runner.RuntimeTaskInstance.model_construct(
                **what.ti.model_dump(exclude_unset=True),
                task=dag.task_dict["t"],
                bundle_instance=SimpleNamespace(name="b", version=None),
                _ti_context_from_server=what.ti_context,
                max_tries=what.ti_context.max_tries,
                start_date=what.start_date,
            )

        task_runner.parse = parse
        task_runner.main()

    return target


def run(supervisor, target, api, log=None, map_index=-1):
    """Run a target as the process of a task, and return its log."""
    from airflow.executors.workloads import BundleInfo
    from airflow.sdk.api.datamodels._generated import TaskInstance

    log = log or Log()
    transport = httpx.MockTransport(api)
    with supervisor.Client(base_url="http://x", token="", transport=transport) as client:
        supervisor.ActivitySubprocess.start(
            dag_rel_path="x.py",
            what=TaskInstance(
                id=uuid7(), task_id="t", dag_id="d", run_id="r", try_number=1, map_index=map_index
            ),
            bundle_info=BundleInfo(name="b", version=None),
            client=client,
            target=target,
            logger=log,
        ).wait()
    return log
