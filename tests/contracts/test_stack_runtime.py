"""Test the modules on the services' PYTHONPATH and the names of patches."""

import re

from checks import pages
from tests.support.repository import ROOT

ON_PATH = ROOT / "orchestration/config"


def locked_names():
    locks = [path.read_text(encoding="utf-8") for path in (ROOT / "install").rglob("*.lock")]
    return {name.lower() for text in locks for name in re.findall(r"^([\w.-]+)==", text, re.M)}


def test_no_module_on_the_path_shadows_a_package():
    names = {
        path.name.partition(".")[0] for path in ON_PATH.iterdir() if path.name != "__pycache__"
    }
    assert "stack_runtime" in names
    assert not {name.lower().replace("_", "-") for name in names} & locked_names()


def test_path_has_only_the_package_and_airflow_local_settings():
    assert {path.name for path in ON_PATH.glob("*.py")} == {"airflow_local_settings.py"}
    packages = {path.parent.name for path in ON_PATH.glob("*/__init__.py")}
    assert packages == {"stack_runtime"}


def test_patch_names_are_unique():
    names = re.findall(r"^\| ([\w-]+) \|", pages.patches(), re.M)
    assert len(names) == len(set(names)) > 10
