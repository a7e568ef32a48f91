"""Test that Airflow's trigger form can start every DAG with its default values.

Airflow 3.0.1 disables the buttons `Trigger` and `Run Backfill` while a required parameter has no
value. Every parameter with a type is required, unless its types include null
(`isRequired` in `airflow/ui/src/components/FlexibleForm/FlexibleForm.tsx`).
"""

import copy

import pytest

from tests.ml.conftest import CHURN


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


def submit_form(params, **changes):
    """Return the parameters of a run after the form sends all its fields, with some changes."""
    submission = copy.deepcopy(params)
    submission.update({name: params[name] for name in params} | changes)
    return submission.validate()


def test_form_defaults_enable_trigger_button(bag):
    disabled = {name: fields_that_disable_the_button(dag.params) for name, dag in bag.dags.items()}
    assert len(disabled) >= 3
    assert {name: fields for name, fields in disabled.items() if fields} == {}


def test_form_defaults_are_accepted(bag):
    for dag in bag.dags.values():
        assert submit_form(dag.params) == {name: dag.params[name] for name in dag.params}


@pytest.mark.parametrize(("role", "field"), [("training", "until"), ("monitoring", "period")])
def test_form_accepts_blank_but_no_invalid_period(bag, role, field):
    params = bag.dags[CHURN.dag(role)].params
    assert submit_form(params, **{field: None})[field] is None
    assert submit_form(params, **{field: "2013-05"})[field] == "2013-05"
    with pytest.raises(Exception, match="2013-13"):
        submit_form(params, **{field: "2013-13"})


@pytest.mark.parametrize(
    ("schema", "required"),
    [
        ({}, False),
        ({"type": "string"}, True),
        ({"type": ["string"]}, True),
        ({"type": ["null", "string"]}, False),
    ],
)
def test_is_required_follows_type(schema, required):
    assert is_required(schema) is required
