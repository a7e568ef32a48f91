"""Test the defaults of operators: from the configuration, their class and their DAG."""

import importlib
import json
from datetime import datetime

import pytest
from airflow.providers.standard.operators.bash import BashOperator
from airflow.sdk import DAG, BaseOperator, task_group

from tests.runtime.airflow.supervised import output_lines, patched_supervisor

SETTINGS = {
    "AIRFLOW__CORE__DEFAULT_TASK_RETRIES": "2",
    "AIRFLOW__CORE__DEFAULT_TASK_RETRY_DELAY": "30",
    "AIRFLOW__CORE__DEFAULT_TASK_EXECUTION_TIMEOUT": "600",
    "AIRFLOW__OPERATORS__DEFAULT_OWNER": "ada",
    "AIRFLOW__OPERATORS__DEFAULT_QUEUE": "main",
}
# In a process of its own, because operators copy the defaults when they are imported.
DEFINE = """
import json
from datetime import timedelta
from airflow.sdk import DAG, BaseOperator, task
from airflow.providers.standard.operators.bash import BashOperator
from airflow.serialization.serialized_objects import SerializedDAG

class Sets(BaseOperator):
    def __init__(self, **options):
        super().__init__(**options)
        self.retries = 0

class Passes(BaseOperator):
    def __init__(self, *, number=0, retries=1, queue=None, **options):
        super().__init__(retries=retries, **options)

def define(default_args):
    with DAG("d", schedule=None, default_args=default_args) as dag:
        BashOperator(task_id="plain", bash_command="true")
        BashOperator.partial(task_id="mapped").expand(bash_command=["true"])
        BashOperator(task_id="given", bash_command="true", retries=0)
        BashOperator.partial(task_id="mapped_given", retries=0).expand(bash_command=["true"])
        task(task_id="decorated")(lambda number: None)(1)
        task(task_id="mapped_decorated")(lambda number: None).expand(number=[1])
        Sets(task_id="sets")
        Passes(task_id="passes")
        Passes.partial(task_id="mapped_passes").expand(number=[1])
    return dag

def show(dag, *names):
    return {task.task_id: [str(getattr(task, name)) for name in names] for task in dag.tasks}
"""
RETRIES = """
results = []
for default_args in {}, {"retries": 0}, {"retries": 4, "retry_delay": timedelta(seconds=5)}:
    dag = define(default_args)
    for one in dag, SerializedDAG.from_dict(SerializedDAG.to_dict(dag)):
        results.append(show(one, "retries", "retry_delay"))
print(json.dumps(results))
"""
OTHERS = """
dag = define({})
stored = SerializedDAG.from_dict(SerializedDAG.to_dict(dag))
print(json.dumps([show(stored, "owner", "queue"), show(dag, "execution_timeout")]))
"""
USUAL = ("plain", "mapped", "decorated", "mapped_decorated")
PASSES = ("passes", "mapped_passes")


def expected(usual, passes, seconds):
    """Return retries and their delay for each task of DEFINE."""
    retries = dict.fromkeys(USUAL, usual) | dict.fromkeys(PASSES, passes)
    retries |= dict.fromkeys(("given", "mapped_given", "sets"), 0)
    return {task_id: [str(number), f"0:00:{seconds:02}"] for task_id, number in retries.items()}


def test_retries_are_those_of_task_class_dag_or_configuration():
    *_, line = output_lines(DEFINE + RETRIES, **SETTINGS)
    rows = [expected(2, 1, 30), expected(0, 0, 30), expected(4, 4, 5)]
    # The scheduler knows tasks as they are stored.
    assert json.loads(line) == [row for row in rows for _ in ("defined", "stored")]


def test_other_defaults_are_those_of_the_configuration():
    *_, line = output_lines(DEFINE + OTHERS, **SETTINGS)
    shown, limits = json.loads(line)
    assert set(map(tuple, shown.values())) == {("ada", "main")}
    # An instance of a mapped function gets its limit when it runs.
    assert limits.pop("mapped_decorated") == ["None"]
    assert list(limits.values()) == [["0:10:00"]] * 8


@pytest.fixture(scope="module", autouse=True)
def patched():
    patched_supervisor()
    return importlib.import_module("airflow.sdk.bases.operator")


def map_bash(of_dag, of_group=None, expand=None, **options):
    """Return a mapped task of a DAG with default arguments."""
    with DAG("d", schedule=None, start_date=datetime(2025, 1, 1), default_args=of_dag) as dag:

        @task_group(default_args=of_group or {})
        def group():
            partial = BashOperator.partial(task_id="t", **options)
            partial.expand(**(expand or {"bash_command": ["a", "b"]}))

        group()
    return dag.get_task("group.t")


UNKNOWN = {"poke_interval": 5, "python_callable": print, "retries": 3}


@pytest.mark.parametrize(
    "arguments",
    [{"of_dag": UNKNOWN}, {"of_dag": {}, "of_group": UNKNOWN},
     {"of_dag": {}, "default_args": {**UNKNOWN, "env": {"A": "b"}}}],
    ids=["dag", "group", "task"],
)  # fmt: skip
def test_default_arguments_for_other_operators_are_ignored(arguments):
    task = map_bash(**arguments)
    assert task.retries == 3
    operator = task.unmap({"bash_command": "a"})
    assert operator.env == arguments.get("default_args", {}).get("env")
    assert not hasattr(operator, "poke_interval")


def test_default_argument_that_is_mapped_is_only_a_default():
    task = map_bash({"bash_command": "default"})
    assert task.unmap({"bash_command": "a"}).bash_command == "a"
    task = map_bash({"bash_command": "default"}, expand={"env": [{"A": "b"}]})
    assert task.unmap({"env": {"A": "b"}}).bash_command == "default"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"poke_interval": 5}, "unexpected keyword argument 'poke_interval'"),
        ({"bash_command": "a"}, "unmappable or already specified argument: bash_command"),
    ],
)
def test_arguments_of_partial_are_still_checked(options, message):
    with pytest.raises(TypeError, match=message):
        map_bash(UNKNOWN, **options)


def test_operator_without_init_of_its_own_is_mapped():
    class Plain(BaseOperator):
        pass

    with DAG("d", schedule=None, default_args=UNKNOWN):
        assert Plain.partial(task_id="t").expand(doc=["a"]).retries == 3
