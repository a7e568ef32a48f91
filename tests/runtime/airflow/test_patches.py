"""Test the patch registry in Airflow's environment."""

import logging
import sys
from dataclasses import replace
from types import ModuleType, SimpleNamespace

import pytest

from tests.runtime.airflow.supervised import CONFIG, output_lines

# All patches are applied in a separate process, because they change Airflow permanently.
ALL_ACTIVE = """
import importlib
from airflow import configuration
from stack_runtime.airflow import patches
from stack_runtime.shared import patch_registry
patches.load_deferred()
from airflow import settings
applied = []
activate = patch_registry.activate
patch_registry.activate = lambda one, module: applied.append((one.name, activate(one, module)))
patches.register()
for patch in patches.PATCHES:
    importlib.import_module(patch.module)
print({name: why for name, why in applied if why}, len({name for name, _ in applied}))
print(patch_registry.inactive(patches.PATCHES), len(patches.PATCHES))
"""
# A user's settings file, with names and types of its own.
USERS_SETTINGS = """
from __future__ import annotations
from dataclasses import dataclass
from typing import ClassVar
from airflow import settings
from airflow.exceptions import AirflowClusterPolicyViolation

@dataclass
class Limits:
    most: ClassVar[int] = 3

def task_policy(task):
    task.owner = f"{task.owner}, {task.retries} retries"

def dag_policy(dag):
    raise AirflowClusterPolicyViolation("no DAG")
"""
POLICIES = """
from airflow import settings
from airflow.sdk import BaseOperator
task = BaseOperator(task_id="t", owner="ada")
settings.POLICY_PLUGIN_MANAGER.hook.task_policy(task=task)
try:
    settings.POLICY_PLUGIN_MANAGER.hook.dag_policy(dag=None)
except Exception as error:
    print(task.owner, error)
"""


@pytest.fixture(scope="module")
def registry():
    sys.path.insert(0, str(CONFIG))
    from stack_runtime.shared import patch_registry

    sys.path.remove(str(CONFIG))
    return patch_registry


def test_patches_on_pinned_versions_are_all_active():
    applied, checked = output_lines(ALL_ACTIVE)[-2:]
    inactive, number = checked.split()
    assert inactive == "{}"
    deferred_imports = 2
    assert applied == f"{{}} {int(number) - deferred_imports}"


@pytest.mark.parametrize("place", ["plugins", "config"])
def test_user_settings_are_applied_after_the_defaults(tmp_path, place):
    (tmp_path / place).mkdir()
    (tmp_path / place / "airflow_local_settings.py").write_text(USERS_SETTINGS)
    variables = {
        "AIRFLOW_HOME": str(tmp_path),
        "AIRFLOW__CORE__DEFAULT_TASK_RETRIES": "2",
        "AIRFLOW__CORE__DEFAULT_TASK_RETRY_DELAY": "30",
    }
    assert output_lines(POLICIES, **variables)[-1] == "ada, 2 retries no DAG"


@pytest.fixture
def patch(registry):
    """A patch that sets `m.done` in a module `m`, for the installed version of packaging."""
    return registry.Patch(
        name="p", module="m", needs=("Class.method",), distribution="packaging", versions=">=1",
        kind=registry.Kind.SPEED, reason="It is slow.", upstream="none", delete_when="never",
        apply=lambda module: setattr(module, "done", True),
    )  # fmt: skip


@pytest.fixture
def module(monkeypatch):
    module = ModuleType("m")
    module.Class = SimpleNamespace(method=None)
    monkeypatch.setitem(sys.modules, "m", module)
    return module


def test_activate_applies_patch(registry, patch, module):
    assert registry.activate(patch, module) == ""
    assert module.done
    assert registry.inactive([patch]) == {}


def test_speed_patch_without_name_is_skipped_and_logged(registry, patch, module, caplog):
    del module.Class.method
    with caplog.at_level(logging.WARNING):
        assert registry.activate(patch, module) == "m has no Class.method"
    assert not hasattr(module, "done")
    assert caplog.messages == ["The patch p is not active: m has no Class.method."]
    assert registry.inactive([patch]) == {"p": "m has no Class.method"}


def test_correctness_patch_without_name_stops_service(registry, patch, module):
    del module.Class
    strict = replace(patch, kind=registry.Kind.CORRECTNESS)
    version = registry.installed_version("packaging")
    sentence = f"The patch p does not fit packaging {version}: m has no Class.method. Without it: "
    for call in (lambda: registry.activate(strict, module), lambda: registry.inactive([strict])):
        with pytest.raises(SystemExit) as error:
            call()
        assert str(error.value) == f"{sentence}It is slow."
    assert not hasattr(module, "done")


@pytest.mark.parametrize("kind", ["SPEED", "CORRECTNESS"])
@pytest.mark.parametrize(
    ("versions", "distribution", "why"),
    [
        ("<1", "packaging", "is installed"),
        (">=1", "no-such-distribution", "it is not installed"),
    ],
)
def test_patch_outside_version_range_is_skipped_and_listed(
    registry, patch, module, kind, versions, distribution, why
):
    other = replace(patch, kind=registry.Kind[kind], versions=versions, distribution=distribution)
    assert why in registry.activate(other, module)
    assert not hasattr(module, "done")
    assert registry.inactive([other]).keys() == {"p"}


def test_failed_load_of_module_counts_as_missing_name(registry, patch, caplog):
    def load(name):
        raise ImportError("no name x")

    registry.load(replace(patch, load=load))
    assert caplog.messages == ["The patch p is not active: m cannot be imported: no name x."]
    with pytest.raises(SystemExit):
        registry.load(replace(patch, load=load, kind=registry.Kind.CORRECTNESS))


@pytest.mark.parametrize(
    ("name", "exists"),
    [("os.path:join", True), ("os.path:gone", False), ("gone:join", False), ("TABLE.a", True),
     ("TABLE.b", False)],
)  # fmt: skip
def test_needed_name_in_other_module_or_dictionary(registry, patch, module, name, exists):
    module.TABLE = {"a": 1}
    assert (replace(patch, needs=(name,)).misfit(module) == "") is exists


def test_missing_module_counts_as_missing_name(registry, patch):
    gone = replace(patch, module="no_such_module")
    assert "cannot be imported" in registry.inactive([gone])["p"]
    with pytest.raises(SystemExit):
        registry.inactive([replace(gone, kind=registry.Kind.CORRECTNESS)])
