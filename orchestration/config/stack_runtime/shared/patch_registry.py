"""Patches as data: every replacement or subclass of something internal to a library.

A patch names the module it changes, the names it needs there and the versions it was written for.
Outside its range it is skipped: that version does not need it, or is not supported by it. Inside
its range a missing name skips a SPEED patch and stops the service for a CORRECTNESS patch. The
init jobs note the skipped patches at their databases (`init_marker`), from where the status page,
`inv health --json` and `inv doctor` list them.
"""

import importlib
import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import cache, reduce
from importlib import metadata
from types import ModuleType
from typing import Any

LOG = logging.getLogger("stack_runtime.patches")


class Kind(StrEnum):
    """What is lost without a patch: time and memory, or a property the stack promises."""

    SPEED = "speed"
    CORRECTNESS = "correctness"


@dataclass(frozen=True)
class Patch:
    """One replacement: `apply` gets the imported module and changes it.

    `needs` are dotted names in the module, or `other.module:name`; `versions` is a PEP 440 range of
    `distribution`. `load` imports the module where that itself is part of the patch.
    """

    name: str
    module: str
    needs: tuple[str, ...]
    distribution: str
    versions: str
    kind: Kind
    reason: str
    upstream: str
    delete_when: str
    apply: Callable[[ModuleType], None] = lambda module: None
    load: Callable[[str], ModuleType] = importlib.import_module

    def out_of_range(self) -> str:
        """Return why this patch is not for the installed version; blank if it is."""
        from packaging.specifiers import SpecifierSet

        version = installed_version(self.distribution)
        if version and SpecifierSet(self.versions).contains(version, prereleases=True):
            return ""
        found = f"{version} is installed" if version else "it is not installed"
        return f"it is for {self.distribution} {self.versions}, and {found}"

    def misfit(self, module: ModuleType) -> str:
        """Return which needed names the module lacks; blank if it has all of them."""
        missing = [name for name in self.needs if not _has(module, name)]
        return f"{self.module} has no {', '.join(missing)}" if missing else ""


class PatchError(SystemExit):
    """A CORRECTNESS patch does not fit a version it is for: ends the process with one sentence."""


@cache
def installed_version(distribution: str) -> str:
    """Return the installed version of a distribution; blank if there is none."""
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return ""


def activate(patch: Patch, module: ModuleType) -> str:
    """Apply a patch to its imported module; return why not, after one line in the log.

    Raises PatchError where a CORRECTNESS patch lacks a name.
    """
    why = patch.out_of_range() or _checked(patch, patch.misfit(module))
    if why:
        _skip(patch, why)
    else:
        patch.apply(module)
    return why


def load(patch: Patch) -> None:
    """Import a patch's module, in the patch's own way if it has one, and apply the patch."""
    if why := patch.out_of_range():
        _skip(patch, why)
        return
    try:
        module = patch.load(patch.module)
    except ImportError as error:
        _skip(patch, _checked(patch, f"{patch.module} cannot be imported: {error}"))
        return
    activate(patch, module)


def _skip(patch: Patch, why: str) -> None:
    LOG.warning("The patch %s is not active: %s.", patch.name, why)


def inactive(patches: Iterable[Patch]) -> dict[str, str]:
    """Return the patches that are not active in this environment: name and reason.

    Imports their modules. Raises PatchError where a CORRECTNESS patch does not fit.
    """
    reasons = {
        patch.name: patch.out_of_range() or _checked(patch, _misfit_here(patch))
        for patch in patches
    }
    return {name: why for name, why in reasons.items() if why}


def _misfit_here(patch: Patch) -> str:
    try:
        return patch.misfit(importlib.import_module(patch.module))
    except ImportError as error:
        return f"{patch.module} cannot be imported: {error}"


def _checked(patch: Patch, misfit: str) -> str:
    if misfit and patch.kind is Kind.CORRECTNESS:
        raise PatchError(
            f"The patch {patch.name} does not fit {patch.distribution} "
            f"{installed_version(patch.distribution)}: {misfit}. Without it: {patch.reason}"
        )
    return misfit


def _has(module: ModuleType, name: str) -> bool:
    owner, _, path = name.rpartition(":")
    try:
        reduce(_member, path.split("."), importlib.import_module(owner) if owner else module)
    except (AttributeError, KeyError, ImportError):
        return False
    return True


def _member(owner: Any, name: str) -> Any:
    return owner[name] if isinstance(owner, Mapping) else getattr(owner, name)
