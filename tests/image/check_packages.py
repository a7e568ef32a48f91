"""What is installed against what it needs and what the locks say: `python check_packages.py LOCK…`.

The environment of the image has no pip, so this is `pip check` in its own words: each requirement
of each distribution that applies here must be met, and each pin of the locks must be installed.
"""

import re
import sys
from importlib.metadata import distributions
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

PIN = re.compile(r"^([A-Za-z0-9._-]+)==([^ ;\\]+)")


def installed() -> dict[str, str]:
    """Canonical names and versions of all distributions."""
    return {canonicalize_name(d.metadata["Name"]): d.version for d in distributions()}


def conflicts(versions: dict[str, str]) -> list[str]:
    """Requirements that are not met."""
    wrong = []
    for distribution in distributions():
        for text in distribution.requires or []:
            need = Requirement(text)
            if need.marker and not need.marker.evaluate({"extra": ""}):
                continue
            held = versions.get(canonicalize_name(need.name))
            if held is None or not need.specifier.contains(held, prereleases=True):
                wrong.append(f"{distribution.metadata['Name']} needs {need}, has {held}")
    return wrong


def drifted(versions: dict[str, str], locks: list[str]) -> list[str]:
    """Pins of the locks that are not what is installed."""
    pins = [PIN.match(line) for lock in locks for line in Path(lock).read_text().splitlines()]
    return [
        f"the lock says {pin[1]}=={pin[2]}, installed is {versions.get(canonicalize_name(pin[1]))}"
        for pin in pins
        if pin and versions.get(canonicalize_name(pin[1])) != pin[2]
    ]


if __name__ == "__main__":
    found = installed()
    problems = [*conflicts(found), *drifted(found, sys.argv[1:])]
    print("\n".join(problems) or f"{len(found)} packages agree with each other and with the locks")
    sys.exit(bool(problems))
