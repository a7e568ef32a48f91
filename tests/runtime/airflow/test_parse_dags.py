"""Test the check of a new environment with real plugins and DAG files."""

import os
import sys

import pytest

from tests.runtime.airflow.supervised import CONFIG
from tests.support.process import run

DAG = """
from airflow.sdk import DAG
from helper import NAME
dag = DAG(NAME, schedule=None)
"""


@pytest.fixture
def parse(tmp_path):
    """Return a function that writes a plugin and parses a DAG file that imports a module of it."""
    for name in ("dags", "plugins"):
        (tmp_path / name).mkdir()
    (tmp_path / "dags/uses_plugin.py").write_text(DAG)

    def parse(plugin):
        (tmp_path / "plugins/helper.py").write_text(plugin)
        folder = str(tmp_path / "plugins")
        variables = {"AIRFLOW__CORE__PLUGINS_FOLDER": folder, "PYTHONPATH": str(CONFIG)}
        argv = (sys.executable, "-P", "-m", "stack_runtime.airflow.parse_dags", tmp_path / "dags")
        done = run(*argv, env={**os.environ, **variables})
        return done.returncode, done.stdout.splitlines()

    return parse


def test_dag_may_import_from_plugins(parse):
    code, lines = parse("NAME = 'named_by_plugin'")
    assert (code, lines[-1].partition(": ")[2]) == (0, "named_by_plugin")


@pytest.mark.parametrize(
    ("plugin", "message"),
    [
        ("import no_such_module", "plugins/helper.py: No module named 'no_such_module'"),
        ("NAME = 'a'; raise RuntimeError", "plugins/helper.py: "),
    ],
)
def test_plugin_that_cannot_be_imported_is_an_error(parse, plugin, message):
    code, lines = parse(plugin)
    assert (code, message in lines) == (1, True)
