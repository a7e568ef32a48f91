"""Test the registry of patches with other versions of Airflow."""

import importlib
import sys
from contextlib import suppress
from importlib.metadata import version

from tests.support import airflow_home  # noqa: F401  before Airflow is imported
from tests.support.repository import ROOT


def test_registry_loads_and_lists_inactive_patches(monkeypatch, capsys):
    monkeypatch.syspath_prepend(str(ROOT / "orchestration/config"))
    patches = importlib.import_module("stack_runtime.airflow.patches")
    registry = importlib.import_module("stack_runtime.shared.patch_registry")
    patches.load_deferred()
    for patch in patches.PATCHES:
        with suppress(ModuleNotFoundError):
            importlib.import_module(patch.module)
    # Airflow imported the cluster policy from its path.
    assert "stack_runtime.airflow.cluster_policy" in sys.modules
    inactive = registry.inactive(patches.PATCHES)
    with capsys.disabled():
        print(f"\nAirflow {version('apache-airflow')}, {len(inactive)} patches are not active")
        for name, why in inactive.items():
            print(f"  {name}: {why}")
