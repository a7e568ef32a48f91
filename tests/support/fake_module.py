"""Fake modules for scripts whose imports are not installed in the test environment."""

import sys
from types import ModuleType
from typing import Any

import pytest


def fake_module(monkeypatch: pytest.MonkeyPatch, name: str, **members: Any) -> ModuleType:
    """Add a module with these members, and its parent packages, to `sys.modules`."""
    packages = name.split(".")
    for depth in range(1, len(packages)):
        parent = ".".join(packages[:depth])
        if not isinstance(sys.modules.get(parent), ModuleType):
            monkeypatch.setitem(sys.modules, parent, ModuleType(parent))
    module = ModuleType(name)
    module.__dict__.update(members)
    monkeypatch.setitem(sys.modules, name, module)
    if len(packages) > 1:
        package = sys.modules[".".join(packages[:-1])]
        monkeypatch.setattr(package, packages[-1], module, raising=False)
    return module
