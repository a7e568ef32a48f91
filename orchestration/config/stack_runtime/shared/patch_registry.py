"""Registry of patches: every replacement or subclass of a library's internals, as data.

A patch lists the module it changes, the names it needs there and the versions it was written for.
Other versions do not need it or are not supported, so it is skipped. If a name is missing in a
supported version, a SPEED patch is skipped, but a CORRECTNESS patch stops the service. The init
jobs record skipped patches at their databases (`init_marker`). The status page,
`inv health --json` and `inv doctor` list them from there.
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
    """What is missing without a patch: time and memory, or a guarantee of the stack."""

    SPEED = "speed"
    CORRECTNESS = "correctness"


@dataclass(frozen=True)
class Patch:
    """One patch: `apply` receives the imported module and changes it.

    `needs` are dotted names in the module, or `other.module:name`. `versions` is a PEP 440 range of
    `distribution`. `load` imports the module if the import itself is part of the patch.
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
        """Return why this patch does not support the installed version; blank if it does."""
        from packaging.specifiers import SpecifierSet

        version = installed_version(self.distribution)
        if version and SpecifierSet(self.versions).contains(version, prereleases=True):
            return ""
        state = f"{version} is installed" if version else "it is not installed"
        return f"it is for {self.distribution} {self.versions}, and {state}"

    def misfit(self, module: ModuleType) -> str:
        """Return which needed names the module lacks; blank if it has all."""
        missing = [name for name in self.needs if not _has(module, name)]
        return f"{self.module} has no {', '.join(missing)}" if missing else ""


class PatchError(SystemExit):
    """A CORRECTNESS patch does not fit a supported version; ends the process with a message."""


@cache
def installed_version(distribution: str) -> str:
    """Return the installed version of a distribution; blank if there is none."""
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return ""


def activate(patch: Patch, module: ModuleType) -> str:
    """Apply a patch to its imported module; if it is skipped, log and return the reason.

    Raises PatchError if a CORRECTNESS patch lacks a name.
    """
    why = patch.out_of_range() or _verify(patch, patch.misfit(module))
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
        _skip(patch, _verify(patch, f"{patch.module} cannot be imported: {error}"))
        return
    activate(patch, module)


def _skip(patch: Patch, why: str) -> None:
    LOG.warning("The patch %s is not active: %s.", patch.name, why)


def inactive(patches: Iterable[Patch]) -> dict[str, str]:
    """Return the patches that are not active in this environment: name and reason.

    Imports their modules. Raises PatchError if a CORRECTNESS patch does not fit.
    """
    reasons = {
        patch.name: patch.out_of_range() or _verify(patch, _installed_misfit(patch))
        for patch in patches
    }
    return {name: why for name, why in reasons.items() if why}


def _installed_misfit(patch: Patch) -> str:
    try:
        return patch.misfit(importlib.import_module(patch.module))
    except ImportError as error:
        return f"{patch.module} cannot be imported: {error}"


def _verify(patch: Patch, misfit: str) -> str:
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
