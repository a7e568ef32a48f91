"""Test that Airflow's web page can start every DAG as its form opens.

Airflow 3.0.1 disables the buttons `Trigger` and `Run Backfill` while a required parameter has no
value. Every parameter with a type is required, unless its types include null
(`isRequired` in `airflow/ui/src/components/FlexibleForm/FlexibleForm.tsx`).
"""

import copy
from pathlib import Path

import pytest
from airflow.models import DagBag

DAGS = Path(__file__).parents[2] / "dags"


@pytest.fixture(scope="module")
def bag():
    return DagBag(DAGS, include_examples=False)


def is_required(schema):
    """Return whether the form does not accept an empty value for this parameter."""
    types = schema.get("type")
    return bool(types) and not (isinstance(types, list) and "null" in types)


def fields_that_disable_the_button(params):
    """Return the names of required parameters that have no value when the form opens."""
    dump = {name: params.get_param(name).dump() for name in params}
    return [
        name
        for name, param in dump.items()
        if is_required(param["schema"]) and param["value"] in (None, "")
    ]


def sent_by_the_form(params, **changes):
    """Return the parameters of a run if the form sends all its fields, some of them changed."""
    sent = copy.deepcopy(params)
    sent.update({name: params[name] for name in params} | changes)
    return sent.validate()


def test_every_form_opens_with_its_button_enabled(bag):
    disabled = {name: fields_that_disable_the_button(dag.params) for name, dag in bag.dags.items()}
    assert len(disabled) >= 3
    assert {name: fields for name, fields in disabled.items() if fields} == {}


def test_every_form_is_accepted_as_it_opens(bag):
    for dag in bag.dags.values():
        assert sent_by_the_form(dag.params) == {name: dag.params[name] for name in dag.params}


@pytest.mark.parametrize(
    ("dag_id", "field"), [("training_pipeline", "until"), ("monitoring_pipeline", "month")]
)
def test_a_cleared_month_is_accepted_and_a_wrong_one_is_not(bag, dag_id, field):
    params = bag.dags[dag_id].params
    assert sent_by_the_form(params, **{field: None})[field] is None
    assert sent_by_the_form(params, **{field: "2013-05"})[field] == "2013-05"
    with pytest.raises(Exception, match="2013-13"):
        sent_by_the_form(params, **{field: "2013-13"})


@pytest.mark.parametrize(
    ("schema", "required"),
    [
        ({}, False),
        ({"type": "string"}, True),
        ({"type": ["string"]}, True),
        ({"type": ["null", "string"]}, False),
    ],
)
def test_rule_of_the_form(schema, required):
    assert is_required(schema) is required
