"""Modules that a script imports and that are not installed here."""

import sys
from types import ModuleType
from typing import Any

import pytest


def fake_module(monkeypatch: pytest.MonkeyPatch, name: str, **members: Any) -> ModuleType:
    """Put a module with these members where imports find it, with the packages above it."""
    packages = name.split(".")
    for depth in range(1, len(packages)):
        above = ".".join(packages[:depth])
        if not isinstance(sys.modules.get(above), ModuleType):
            monkeypatch.setitem(sys.modules, above, ModuleType(above))
    made = ModuleType(name)
    made.__dict__.update(members)
    monkeypatch.setitem(sys.modules, name, made)
    if len(packages) > 1:
        monkeypatch.setattr(sys.modules[".".join(packages[:-1])], packages[-1], made, raising=False)
    return made
