"""Test the API server's patches in its real applications, with a SQLite database."""

import json
from datetime import datetime
from types import SimpleNamespace

import httpx
import pytest
from airflow.sdk import DAG, task, task_group
from sqlalchemy import delete

from tests.runtime.airflow.supervised import TIMESTAMP, patched_supervisor

START = {"state": "running", "hostname": "h", "unixname": "u", "pid": 1, "start_date": TIMESTAMP}
KEYS = ["plain", "val/auc", "/leading", "a?b", "a#b", "100%41", "with space"]


@pytest.fixture(scope="module")
def supervisor():
    return patched_supervisor()


@pytest.fixture(scope="module")
def database(supervisor):
    from airflow import settings
    from airflow.models import import_all_models
    from airflow.models.base import Base

    import_all_models()
    Base.metadata.create_all(settings.engine)


@pytest.fixture(scope="module")
def api(database):
    """Return the API for tasks, which runs in this process and allows all requests."""
    from airflow.api_fastapi.execution_api.app import InProcessExecutionAPI
    from airflow.api_fastapi.execution_api.routes.task_instances import ti_id_router

    api = InProcessExecutionAPI()
    [bearer] = ti_id_router.dependencies
    api.app.dependency_overrides[bearer.dependency] = lambda: None
    return api


@pytest.fixture(scope="module")
def client(supervisor, api):
    """Return the client of a task's supervisor."""
    with supervisor.Client(base_url="http://api", token="", transport=api.transport) as client:
        yield client


def mapped_dag():
    with DAG("mapped", schedule=None, start_date=datetime(2025, 1, 1)) as dag:

        @task
        def months():
            return ["2013-01", "2013-02"]

        @task
        def fit(month): ...

        @task
        def best(scores): ...

        @task_group
        def flat(month):
            return fit(month)

        @task_group
        def inner(month):
            best.override(task_id="check")(score := fit(month))
            return score

        @task_group
        def deep(month):
            return inner(month)

        listed = months()
        best(flat.expand(month=listed))
        best.override(task_id="deep_best")(deep.expand(month=listed))
    return dag


def queue_tasks(dag, length):
    """Store a run of a DAG with all tasks queued, and return the ID of each task's instance."""
    from airflow.models.dagrun import DagRun
    from airflow.models.taskinstance import TaskInstance
    from airflow.models.taskmap import TaskMap
    from airflow.utils.session import create_session

    with create_session() as session:
        session.execute(delete(DagRun).where(DagRun.dag_id == dag.dag_id))
        session.add(DagRun(dag_id=dag.dag_id, run_id="r", run_type="manual", state="running"))
        session.flush()
        instances = [
            TaskInstance(one, run_id="r", state="queued", map_index=-1 if "." not in name else 1)
            for name, one in dag.task_dict.items()
        ]
        session.add_all(instances)
        session.flush()
        if length is not None:
            values = {"dag_id": dag.dag_id, "run_id": "r", "map_index": -1, "keys": None}
            session.add(TaskMap(task_id="months", length=length, **values))
        return {one.task_id: one.id for one in instances}


@pytest.fixture
def start(api):
    """Return a function that starts a task of `mapped_dag` and returns its context."""
    from airflow.serialization.serialized_objects import SerializedDAG

    def start(task_id, length):
        dag = mapped_dag()
        api.app.state.dag_bag = SimpleNamespace(
            get_dag=lambda _: SerializedDAG.from_dict(SerializedDAG.to_dict(dag))
        )
        instance = queue_tasks(dag, length)[task_id]
        with httpx.Client(transport=api.transport, base_url="http://api") as server:
            response = server.patch(f"/task-instances/{instance}/run", json=START)
        assert response.status_code == 200, response.text
        return response.json()

    return start


@pytest.mark.parametrize(
    ("task_id", "length", "indexes"),
    [
        ("best", 2, {"flat.fit": [0, 1]}),
        ("best", 0, {"flat.fit": []}),
        # The task that returns the list was skipped or failed.
        ("best", None, {"flat.fit": None}),
        ("deep_best", 2, {"deep.inner.fit": [0, 1]}),
        ("deep.inner.check", 2, {"deep.inner.fit": 1}),
        ("flat.fit", 2, {"months": None}),
    ],
)
def test_task_around_mapped_group_starts_with_map_indexes(start, task_id, length, indexes):
    assert start(task_id, length)["upstream_map_indexes"] == indexes


@pytest.fixture
def xcom(client):
    """Return the location of the XComs of a stored task."""
    queue_tasks(mapped_dag(), 2)
    return {"dag_id": "mapped", "run_id": "r", "task_id": "months"}


@pytest.mark.parametrize("key", KEYS)
def test_xcom_with_any_key_is_stored_and_deleted(client, xcom, key):
    client.xcoms.set(**xcom, key=key, value=0.9)
    found = client.xcoms.get(**xcom, key=key)
    assert (found.key, found.value) == (key, 0.9)
    assert client.xcoms.head(**xcom, key=key) == 1
    client.xcoms.delete(**xcom, key=key)
    assert client.xcoms.get(**xcom, key=key).value is None


def test_xcom_of_none_is_stored(client, xcom):
    client.xcoms.set(**xcom, key="nothing", value=1)
    client.xcoms.set(**xcom, key="nothing", value=None)
    assert client.xcoms.get(**xcom, key="nothing").value is None
    assert client.xcoms.head(**xcom, key="nothing") == 1


@pytest.mark.parametrize("key", KEYS)
def test_variable_with_any_key_is_stored_and_deleted(client, key):
    client.variables.set(key, "eu-west")
    assert client.variables.get(key).value == "eu-west"
    client.variables.delete(key)
    assert client.variables.get(key).error.value == "VARIABLE_NOT_FOUND"


XCOMS = "/dags/d/dagRuns/r/taskInstances/t/xcomEntries"


@pytest.mark.parametrize(
    ("path", "parameter"),
    [
        ("/variables/a/b", "variable_key"),
        ("/pools/a/b", "pool_name"),
        (f"{XCOMS}/a/b", "xcom_key"),
    ],
)
def test_public_api_accepts_names_with_slashes(supervisor, path, parameter):
    from airflow.api_fastapi.core_api.routes.public import public_router
    from starlette.routing import Match

    scope = {"type": "http", "method": "GET", "path": f"/api/v2{path}"}
    matches = [route.matches(scope) for route in public_router.routes]
    [parameters] = [one["path_params"] for match, one in matches if match is Match.FULL]
    assert parameters[parameter] == "a/b"


EXTRA = {"token": "abc", "region": "eu", "nested": {"password": "x"}, "keys": ["s3cret-word"]}


@pytest.fixture
def connections(database):
    from airflow.api_fastapi.core_api.services.public import connections

    return connections


def edited(connections, stored, **changes):
    """Edit a connection as the web interface does, and return its password and extra fields."""
    from airflow.api_fastapi.core_api.datamodels.connections import ConnectionResponse

    shown = ConnectionResponse.model_validate(stored, from_attributes=True)
    body = {**shown.model_dump(by_alias=True), **changes}
    assert "***" in str(shown)
    connections.update_orm_from_pydantic(stored, connections.ConnectionBody(**body))
    return stored.password, json.loads(stored.extra or "{}")


@pytest.fixture
def stored(connections):
    from airflow.models.connection import Connection

    # The secret also appears in a field whose name is harmless.
    return Connection("c", "http", password="s3cret-word", extra=json.dumps(EXTRA))


def test_saved_connection_keeps_masked_values(connections, stored):
    assert edited(connections, stored, description="new") == ("s3cret-word", EXTRA)
    assert stored.description == "new"


def test_saved_connection_takes_changed_values(connections, stored):
    changed = {"region": "us", "authorization": "new"}
    extra = json.dumps({"token": "***", **changed}, indent=2)
    values = edited(connections, stored, password=(word := "other"), extra=extra)
    assert values == (word, {"token": "abc", **changed})


def test_saved_connection_without_fields_keeps_them(connections, stored):
    body = connections.ConnectionBody(connection_id="c", conn_type="http", host="h")
    connections.update_orm_from_pydantic(stored, body)
    assert (stored.host, stored.password) == ("h", "s3cret-word")
    assert json.loads(stored.extra) == EXTRA
