"""Test the command that creates a task's virtual environment, with the real uv."""

import importlib
import os
import shutil
import sys
from pathlib import Path

import airflow
import pytest

from tests.runtime.airflow.supervised import patched_supervisor
from tests.support.process import run

# The folder of Airflow's programs. Airflow may be imported from another environment than this one.
PROGRAMS = Path(airflow.__file__).parents[4] / "bin"


@pytest.fixture
def command():
    """Return the function of the provider that returns the command."""
    patched_supervisor()
    module = importlib.import_module("airflow.providers.standard.utils.python_virtualenv")
    return module._generate_uv_cmd


def test_virtual_environment_has_the_python_of_airflow(command, tmp_path):
    program, *argv = command(str(tmp_path / "venv"), "python", False)
    # This would download pip.
    argv.remove("--seed")
    program = shutil.which(program, path=f"{os.environ['PATH']}:{PROGRAMS}")
    done = run(program, *argv, env={**os.environ, "PATH": str(PROGRAMS)})
    assert done.returncode == 0, done.stderr
    version = run(tmp_path / "venv/bin/python", "-c", "import sys; print(sys.version)")
    assert version.stdout.strip() == sys.version


def test_version_that_a_task_asks_for_is_kept(command):
    assert "python3.12" in command("folder", "python3.12", False)
