"""Test the fixes of later versions of Airflow, with its real runner, supervisor and models."""

import copy
import importlib
import json
import logging
from datetime import UTC, datetime, timedelta

import httpx
import pytest
import structlog
from airflow.exceptions import AirflowException
from airflow.providers.standard.operators.bash import BashOperator
from airflow.providers.standard.operators.trigger_dagrun import TriggerDagRunOperator
from airflow.sdk import Connection, Variable, get_current_context, task

from tests.runtime.airflow import database
from tests.runtime.airflow.runner import RUN, Api, in_runner, run
from tests.runtime.airflow.supervised import patched_supervisor

DAGS = """
from datetime import datetime

from airflow.sdk import Asset, dag, task


@dag(schedule="@daily", start_date=datetime(2026, 1, 1), catchup=False)
def readable():
    @task(retries=1)
    def work(): ...

    work()


@dag(schedule="@daily", start_date=datetime(2026, 1, 1), catchup=False)
def unreadable():
    @task
    def work(): ...

    work()


@dag(schedule=[Asset("source")])
def consumer():
    @task
    def work(): ...

    work()


readable(), unreadable(), consumer()
"""
# Secrets from each source. Airflow masks values of five characters or more.
PASSWORD = "made-up-password"  # pragma: allowlist secret
TOKEN, API_KEY = "made-up-token", "made-up-key"  # pragma: allowlist secret
DECLARED, OF_ENVIRONMENT = "declared-by-task", "from-environment"
SECRETS = (PASSWORD, TOKEN, API_KEY, DECLARED, OF_ENVIRONMENT)
REGION = "eu-west-1"


@pytest.fixture(scope="module")
def supervisor():
    return patched_supervisor()


@pytest.fixture(scope="module")
def dags(supervisor, tmp_path_factory):
    database.create()
    file = tmp_path_factory.mktemp("dags") / "later.py"
    file.write_text(DAGS)
    database.add_dags(file)


@pytest.fixture
def session(dags):
    from airflow.utils.session import create_session

    with create_session(scoped=False) as session:
        yield session


class FullApi(Api):
    """A stub that also answers requests for stored values, and keeps other requests."""

    def __init__(self, values=None, keys_to_clear=(), **options):
        super().__init__(**options)
        # By the request's path after the run, such as `plain/return_value`; a list is mapped.
        self.values, self.keys_to_clear = values or {}, list(keys_to_clear)
        self.deleted, self.bodies = [], {}

    def __call__(self, request):
        path, name = request.url.path, request.url.path.rpartition("/")[2]
        if name == "run":
            context = {"dag_run": self.run, "max_tries": 0, "should_retry": False}
            return httpx.Response(200, json={**context, "xcom_keys_to_clear": self.keys_to_clear})
        if request.method == "GET":
            value = self.value(path.rpartition("/d/r/")[2], request.url.params)
            missing = httpx.Response(404, json={"detail": {"reason": "not_found"}})
            return missing if value is None else httpx.Response(200, json=value)
        if request.method == "DELETE":
            self.deleted.append((name, request.url.params.get("map_index")))
        else:
            self.bodies[name] = json.loads(request.content or "null")
        return super().__call__(request)

    def value(self, path, params):
        if path.startswith(("/connections", "/variables")):
            return self.values.get(path)
        value, index = self.values.get(path), int(params.get("map_index", -1))
        if isinstance(value, list):
            index = int(params.get("offset", index))
            value = value[index] if 0 <= index < len(value) else None
        elif index >= 0 or int(params.get("offset", 0)) > 0:
            value = None
        return value and {"key": "return_value", "value": value}


def in_task(function):
    """Return a target that runs a function as the task `t`."""
    return in_runner(lambda: task(task_id="t")(function)())


@pytest.mark.usefixtures("dags")
def test_next_try_of_deferred_task_starts_at_the_beginning(supervisor, session):
    from airflow.api_fastapi.execution_api.app import InProcessExecutionAPI
    from airflow.api_fastapi.execution_api.routes.task_instances import ti_id_router

    api = InProcessExecutionAPI()
    for depends in ti_id_router.dependencies:
        api.app.dependency_overrides[depends.dependency] = lambda: None
    database.add_run("readable", "deferred")
    ti = database.task_instance(session, "work", "deferred")
    ti.state, ti.try_number, ti.start_date = "running", 1, datetime.now(UTC)
    ti.next_method, ti.next_kwargs = "resume", {"event": 1}
    session.commit()
    with supervisor.Client(base_url="http://api", token="", transport=api.transport) as client:
        client.task_instances.retry(id=ti.id, end_date=datetime.now(UTC), rendered_map_index=None)
    ti = database.task_instance(session, "work", "deferred")
    assert (ti.state, ti.next_method, ti.next_kwargs) == ("up_for_retry", None, None)


@pytest.fixture
def scheduler(session):
    """The scheduler's module, while the timetable of a stored DAG does not exist."""
    from airflow.models.serialized_dag import SerializedDagModel

    row = SerializedDagModel.get("unreadable", session=session)
    readable = row._data
    row._data = copy.deepcopy(readable)
    row._data["dag"]["timetable"]["__type"] = "plugin.Timetable"
    session.commit()
    yield importlib.import_module("airflow.jobs.scheduler_job_runner")
    row._data = readable
    session.commit()


def test_scheduler_creates_runs_although_a_dag_is_unreadable(scheduler, session, caplog):
    from airflow.executors.base_executor import BaseExecutor
    from airflow.jobs.job import Job
    from airflow.models.dag import DagModel
    from airflow.models.dagrun import DagRun

    runner = scheduler.SchedulerJobRunner(job=Job(executor=BaseExecutor()))
    models = [session.get(DagModel, name) for name in ("unreadable", "readable")]
    caplog.set_level(logging.ERROR, "stack_runtime.later_fixes")
    runner._create_dag_runs(models, session)
    scheduled = session.query(DagRun).filter_by(run_type="scheduled")
    created = {run.dag_id for run in scheduled}
    assert created & {"readable", "unreadable"} == {"readable"}
    [message] = [line for line in caplog.messages if line.startswith("A DAG cannot be read")]
    assert "'plugin.Timetable' is not registered" in message


def test_unreadable_dag_of_a_run_counts_as_missing(scheduler, session):
    from airflow.models.dag_version import DagVersion

    version = DagVersion.get_latest_version("unreadable", session=session)
    assert scheduler.SchedulerDagBag()._get_dag(version.id, session) is None


def test_error_of_database_is_not_an_unreadable_dag(scheduler):
    from sqlalchemy.exc import OperationalError

    class Broken:
        def scalar(self, query):
            raise OperationalError("", {}, None)

    with pytest.raises(OperationalError):
        scheduler._get_current_dag(dag_id="readable", session=Broken())


@pytest.mark.parametrize("due_minutes", [0, 1, 9])
def test_run_consumes_all_events_of_its_assets(session, due_minutes):
    from airflow.executors.base_executor import BaseExecutor
    from airflow.jobs.job import Job
    from airflow.jobs.scheduler_job_runner import SchedulerJobRunner
    from airflow.models.asset import AssetEvent, AssetModel
    from airflow.models.dag import DagModel
    from airflow.models.dagrun import DagRun

    session.query(DagRun).filter_by(dag_id="consumer").delete()
    session.query(AssetEvent).delete()
    asset = session.query(AssetModel).filter_by(name="source").one()
    start = datetime.now(UTC)
    times = [start + timedelta(minutes=minute) for minute in range(3)]
    session.add_all(AssetEvent(asset_id=asset.id, timestamp=time) for time in times)
    session.commit()
    due = start + timedelta(minutes=due_minutes)
    SchedulerJobRunner(job=Job(executor=BaseExecutor()))._create_dag_runs_asset_triggered(
        dag_models=[session.get(DagModel, "consumer")],
        triggered_date_by_dag={"consumer": due},
        session=session,
    )
    created = session.query(DagRun).filter_by(dag_id="consumer").one()
    assert sorted(event.timestamp for event in created.consumed_asset_events) == times
    assert created.run_after == max(due, times[-1])


def test_log_message_of_any_level_is_kept(supervisor):
    def log():
        logging.addLevelName(25, "DEPRECATION WARNING")
        logging.getLogger("library").log(25, "of a library")
        logging.getLogger("library").log(33, "without a name")

    api = Api()
    lines = run(supervisor, in_task(log), api).lines
    assert api.states == ["success"]
    for text in ("of a library", "without a name"):
        assert any(text in line for line in lines), lines


def pull_all():
    ti = get_current_context()["ti"]
    pulled = [ti.xcom_pull(name) for name in ("plain", "mapped", ["plain", "mapped", "none"])]
    index = ti.xcom_pull("mapped", map_indexes=1)
    return [*pulled, index, ti.xcom_pull("none", default="default"), ti.xcom_pull(key="own")]


@pytest.mark.parametrize(
    ("map_index", "mapped"), [(-1, ["a", "b", "c"]), (2, "c"), (7, ["a", "b", "c"])]
)
def test_xcom_pull_finds_results_of_other_map_indexes(supervisor, map_index, mapped):
    values = {"plain/return_value": "p", "mapped/return_value": ["a", "b", "c"]}
    api = FullApi(values)
    run(supervisor, in_task(pull_all), api, map_index=map_index)
    together = ["p", *(mapped if isinstance(mapped, list) else [mapped]), None]
    assert api.states == ["success"]
    assert api.bodies["return_value"] == ["p", mapped, together, "b", "default", None]


@pytest.mark.parametrize(("map_index", "sent"), [(-1, None), (2, "2")])
def test_mapped_task_deletes_its_own_xcoms(supervisor, map_index, sent):
    api = FullApi(keys_to_clear=["old"])
    run(supervisor, in_task(lambda: None), api, map_index=map_index)
    assert (api.states, api.deleted) == (["success"], [("old", sent)])


def use_secrets():
    from airflow.sdk.execution_time.secrets_masker import mask_secret

    mask_secret(DECLARED)
    print("printed", DECLARED)
    logging.getLogger("task").info("logged %s", DECLARED)
    connection = Connection.get("c")
    print(connection.password, connection.extra_dejson["api_token"])
    print(Variable.get("my_api_key"), Variable.get("env_password"), Variable.get("region"))


@pytest.fixture
def secret_values(monkeypatch):
    from airflow.sdk.execution_time.secrets_masker import reset_secrets_masker

    monkeypatch.setenv("AIRFLOW_VAR_ENV_PASSWORD", OF_ENVIRONMENT)
    reset_secrets_masker()
    extra = json.dumps({"api_token": TOKEN, "region": REGION})
    connection = {"conn_id": "c", "conn_type": "http", "password": PASSWORD, "extra": extra}
    yield {
        "/connections/c": connection,
        "/variables/my_api_key": {"key": "my_api_key", "value": API_KEY},
        "/variables/region": {"key": "region", "value": REGION},
    }
    reset_secrets_masker()


def test_log_shows_no_secrets_but_other_values(supervisor, secret_values, tmp_path):
    from airflow.sdk.log import logging_processors

    api = FullApi(secret_values)
    with (tmp_path / "log").open("wb") as file:
        processors = logging_processors(enable_pretty_log=False)[0]
        logger = structlog.wrap_logger(
            structlog.BytesLogger(file), processors=processors, logger_name="task"
        ).bind()
        run(supervisor, in_task(use_secrets), api, log=logger)
    text = (tmp_path / "log").read_text()
    assert api.states == ["success"], text
    assert [secret for secret in SECRETS if secret in text] == []
    assert all(part in text for part in ("printed ***", "logged ***", REGION))


def test_rendered_fields_contain_no_secrets_but_other_values(supervisor, secret_values):
    def define_tasks():
        command = "true {{ conn.c.password }} {{ conn.c.extra_dejson.api_token }}"
        command += " {{ var.value.my_api_key }} {{ var.value.region }}"
        BashOperator(task_id="t", bash_command=command)

    api = FullApi(secret_values)
    run(supervisor, in_runner(define_tasks), api)
    assert api.states == ["success"]
    assert api.bodies["rtif"]["bash_command"] == f"true *** *** *** {REGION}"


@pytest.mark.parametrize(
    ("states", "count"),
    [
        ({"a": "success", "b": "success"}, 1),
        ({"a": "success", "b": None}, 0),
        ({"a": None}, 0),
        ({}, 0),
    ],
)
def test_task_group_counts_only_if_all_its_tasks_match(supervisor, states, count):
    helper = importlib.import_module("airflow.providers.standard.utils.sensor_helper")
    assert helper._get_count_by_matched_states({"r": states}, ["success"]) == count


def test_failure_callback_gets_the_exception(supervisor):
    def define_tasks():
        def push(context):
            context["ti"].xcom_push("error", str(context["exception"]))

        @task(task_id="t", on_failure_callback=push, retries=0)
        def fail():
            raise AirflowException("broken")

        fail()

    run(supervisor, in_runner(define_tasks), api := FullApi())
    assert (api.states, api.bodies["error"]) == (["failed"], "broken")


def trigger(**options):
    return lambda: TriggerDagRunOperator(
        task_id="t", trigger_dag_id="other", trigger_run_id="fixed", deferrable=True, **options
    )


def test_deferred_trigger_waits_for_run_by_its_id(supervisor):
    api = FullApi(run={**RUN, "logical_date": "2026-01-01T00:00:00Z"})
    target = in_runner(trigger(wait_for_completion=True, reset_dag_run=True))
    run(supervisor, target, api)
    assert api.states == ["deferred"]
    kwargs = api.bodies["state"]["trigger_kwargs"]["__var"]
    assert (kwargs["run_ids"], kwargs["execution_dates"]) == (["fixed"], None)


def test_trigger_that_is_not_to_wait_is_not_deferred(supervisor):
    run(supervisor, in_runner(trigger(wait_for_completion=False)), api := FullApi())
    assert api.states == ["success"]
