"""Check installed packages against their requirements and locks: `python check_packages.py LOCK…`.

This replaces `pip check`, because the image has no pip. Every applicable requirement of every
distribution must be met, and every pin of the locks must be installed.
"""

import re
import sys
from importlib.metadata import distributions
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

PIN = re.compile(r"^([A-Za-z0-9._-]+)==([^ ;\\]+)")


def installed_versions() -> dict[str, str]:
    """Return the versions of all distributions by canonical name."""
    return {canonicalize_name(d.metadata["Name"]): d.version for d in distributions()}


def conflicts(versions: dict[str, str]) -> list[str]:
    """Return a message for each requirement that is not met."""
    problems = []
    for distribution in distributions():
        for text in distribution.requires or []:
            need = Requirement(text)
            if need.marker and not need.marker.evaluate({"extra": ""}):
                continue
            version = versions.get(canonicalize_name(need.name))
            if version is None or not need.specifier.contains(version, prereleases=True):
                name = distribution.metadata["Name"]
                problems.append(f"{name} requires {need}, installed is {version}")
    return problems


def lock_differences(versions: dict[str, str], locks: list[str]) -> list[str]:
    """Return a message for each pin of the locks that differs from the installed version."""
    pins = [PIN.match(line) for lock in locks for line in Path(lock).read_text().splitlines()]
    return [
        f"The lock pins {pin[1]}=={pin[2]}, installed is {versions.get(canonicalize_name(pin[1]))}"
        for pin in pins
        if pin and versions.get(canonicalize_name(pin[1])) != pin[2]
    ]


if __name__ == "__main__":
    versions = installed_versions()
    problems = [*conflicts(versions), *lock_differences(versions, sys.argv[1:])]
    print("\n".join(problems) or f"{len(versions)} packages match their requirements and the locks")
    sys.exit(bool(problems))
