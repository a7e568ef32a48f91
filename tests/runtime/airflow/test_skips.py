"""Test which instances of tasks a branch or short circuit skips, in a database."""

import importlib
from uuid import uuid4

import pytest
from sqlalchemy import delete

from tests.runtime.airflow import database
from tests.runtime.airflow.supervised import patched_supervisor

DAGS = """
from datetime import datetime

from airflow.providers.standard.operators.bash import BashOperator
from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.sdk import dag, task, task_group

OPTIONS = {"schedule": None, "start_date": datetime(2026, 1, 1)}


@dag(**OPTIONS)
def outside():
    @task
    def numbers():
        return ["a", "b"]

    @task_group
    def group(word):
        BashOperator(task_id="work", bash_command=word)

    listed = numbers()
    mapped = BashOperator.partial(task_id="mapped").expand(bash_command=["a", "b"])
    late = BashOperator.partial(task_id="late", trigger_rule="all_done").expand(bash_command=["a"])
    others = [
        EmptyOperator(task_id="chosen"),
        EmptyOperator(task_id="plain", trigger_rule="all_done"),
        BashOperator.partial(task_id="listed").expand(bash_command=listed),
        group.expand(word=["a", "b"]),
        group.override(group_id="listed_group").expand(word=listed),
    ]
    task.branch(task_id="first")(lambda: "chosen")() >> [mapped, *others]
    mapped >> late


@dag(**OPTIONS)
def inside():
    @task_group
    def group(word):
        branch = task.branch(task_id="first")(lambda word: f"group.{word}")(word)
        branch >> [EmptyOperator(task_id="a"), EmptyOperator(task_id="b")]

    group.expand(word=["a", "b"])


outside(), inside()
"""
KEY = "skipmixin_key"
FOLLOWED = {"followed": ["chosen"]}
EXPANDED = {(name, index) for name in ("mapped", "group.work") for index in (0, 1)}
SKIPPED = EXPANDED | {(name, -1) for name in ("plain", "listed", "listed_group.work")}
# What the branch `first` sends.
PAIRS = [(name, -1) for name, index in SKIPPED if index < 1]


@pytest.fixture(scope="module")
def api(tmp_path_factory):
    """Return the API for tasks, which runs in this process, and a database with DAGs."""
    patched_supervisor()
    database.create()
    file = tmp_path_factory.mktemp("dags") / "skips.py"
    file.write_text(DAGS)
    database.add_dags(file)
    app = importlib.import_module("airflow.api_fastapi.execution_api.app")
    routes = importlib.import_module("airflow.api_fastapi.execution_api.routes.task_instances")
    api = app.InProcessExecutionAPI()
    [bearer] = routes.ti_id_router.dependencies
    api.app.dependency_overrides[bearer.dependency] = lambda: None
    return api


@pytest.fixture
def session(api):
    from airflow.models.dagrun import DagRun
    from airflow.models.taskinstance import TaskInstance
    from airflow.utils.session import create_session

    with create_session(scoped=False) as session:
        yield session
        # Other tests schedule what is in the database.
        for model in (TaskInstance, DagRun):
            session.execute(delete(model).where(model.dag_id.in_(["outside", "inside"])))


class Run:
    """A run of a DAG, whose tasks are in the database only."""

    def __init__(self, session, dag_id):
        from airflow.models.dagrun import DagRun

        self.session, self.run_id = session, uuid4().hex
        database.add_run(dag_id, self.run_id)
        self.row = session.query(DagRun).filter_by(run_id=self.run_id).one()
        self.row.dag = database.stored_dag(dag_id)

    def tasks(self):
        self.session.expire_all()
        instances = self.row.get_task_instances(session=self.session)
        return {(ti.task_id, ti.map_index): ti for ti in instances}

    def states(self):
        return {key: ti.state for key, ti in self.tasks().items()}

    def in_state(self, state):
        return {key for key, value in self.states().items() if value == state}

    def set(self, state, *keys):
        tasks = self.tasks()
        for key in keys:
            tasks[key].state = state
        self.session.commit()

    def decide(self, decision, map_index=-1, task_id="first"):
        """Store the decision of a branch, as its task does."""
        from airflow.models.xcom import XComModel

        where = {"dag_id": self.row.dag_id, "run_id": self.run_id, "map_index": map_index}
        XComModel.set(key=KEY, value=decision, task_id=task_id, **where, session=self.session)
        self.set("success", (task_id, map_index))

    def schedule(self):
        """Decide which tasks are due, as the scheduler does, and return them."""
        decision = self.row.task_instance_scheduling_decisions(session=self.session)
        due = {(ti.task_id, ti.map_index) for ti in decision.schedulable_tis}
        self.session.commit()
        return due


@pytest.fixture
def run(session):
    return Run(session, "outside")


@pytest.fixture
def skip(api, run):
    """Return a function that skips tasks for `first`, as the supervisor of this task does."""
    comms = importlib.import_module("airflow.sdk.execution_time.comms")
    supervisor = importlib.import_module("airflow.sdk.execution_time.supervisor")

    def skip(tasks):
        run.set("running", ("first", -1))
        with supervisor.Client(base_url="http://a", token="", transport=api.transport) as client:
            request = comms.SkipDownstreamTasks(tasks=tasks)
            client.task_instances.skip_downstream_tasks(run.tasks()["first", -1].id, request)

    return skip


def test_branch_skips_all_instances_of_mapped_tasks(run, skip):
    skip(PAIRS)
    assert run.in_state("skipped") == SKIPPED


def test_short_circuit_skips_all_instances_whatever_their_trigger_rule(run, skip):
    skip(["mapped", "late", "chosen"])
    expected = {("mapped", 0), ("mapped", 1), ("late", 0), ("chosen", -1)}
    assert run.in_state("skipped") == expected


def test_skip_of_one_instance_leaves_the_others(run, skip):
    skip([("mapped", 1)])
    assert run.in_state("skipped") == {("mapped", 1)}


def test_skip_leaves_tasks_that_have_started(run, skip):
    run.set("success", ("plain", -1), ("mapped", 0))
    run.set("running", ("mapped", 1))
    run.set("deferred", ("group.work", 0))
    run.set("queued", ("group.work", 1))
    skip(PAIRS)
    assert run.in_state("skipped") == {
        ("group.work", 1), ("listed", -1), ("listed_group.work", -1),
    }  # fmt: skip


def test_cleared_tasks_are_skipped_again(run):
    run.decide(FOLLOWED)
    run.set("success", ("numbers", -1))
    assert run.schedule() == {("chosen", -1)}
    assert run.in_state("skipped") == SKIPPED
    # The next round reaches the task after a mapped one.
    assert run.schedule() == {("chosen", -1), ("late", 0)}


def test_chosen_mapped_task_runs(run):
    run.decide({"followed": ["mapped", "group.work"]})
    run.set("success", ("numbers", -1))
    assert run.schedule() == EXPANDED
    assert ("chosen", -1) in run.in_state("skipped")


def test_branch_in_mapped_group_skips_within_its_instance(session):
    run = Run(session, "inside")
    run.decide({"followed": ["group.a"]}, 0, "group.first")
    run.decide({"followed": ["group.b"]}, 1, "group.first")
    assert run.schedule() == {("group.a", 0), ("group.b", 1)}
    assert run.in_state("skipped") == {("group.b", 0), ("group.a", 1)}
