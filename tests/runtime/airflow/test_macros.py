"""Test macros of plugins in Airflow's real runner."""

from typing import ClassVar

import pytest
from airflow import plugins_manager
from airflow.providers.standard.operators.bash import BashOperator

from tests.runtime.airflow.runner import Api, in_runner, run
from tests.runtime.airflow.supervised import patched_supervisor


def upper(text):
    return text.upper()


class Plugin(plugins_manager.AirflowPlugin):
    name = "ours"
    macros: ClassVar = [upper]


@pytest.mark.parametrize(
    ("template", "states", "xcoms"),
    [
        ("{{ macros.ours.upper('ok') }}", ["success"], {"return_value": "OK"}),
        ("{{ macros.ds_add('2026-01-01', 1) }}", ["success"], {"return_value": "2026-01-02"}),
        ("{{ macros.theirs.upper('ok') }}", ["failed"], {}),
    ],
)
def test_template_uses_macros_of_plugins(monkeypatch, template, states, xcoms):
    monkeypatch.setattr(plugins_manager, "plugins", [Plugin()])
    monkeypatch.setattr(plugins_manager, "macros_modules", None)

    def define_tasks():
        BashOperator(task_id="t", bash_command=f"echo {template}")

    run(patched_supervisor(), in_runner(define_tasks), api := Api())
    assert (api.states, api.xcoms) == (states, xcoms)
