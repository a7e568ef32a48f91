"""What the locks pin, read from their text: for the audit and the bills of material."""

import re
from dataclasses import dataclass
from pathlib import Path

from packaging.utils import canonicalize_name
from packaging.version import Version

from orchestration.errors import StackError

PIN = re.compile(r"^([\w.-]+)==([^\s;\\]+)(?: ;[^\\\n]*)?((?: \\\n +--hash=\S+)+)$", re.MULTILINE)
HASH = re.compile(r"--hash=(\S+)")
# A package's name and version as every tool spells them.
Key = tuple[str, str]


@dataclass(frozen=True)
class Pin:
    """A package at one version, with the hashes (`sha256:…`) of the files it may come from."""

    name: str
    version: str
    hashes: tuple[str, ...]

    def __str__(self) -> str:
        """As a line of a requirements file; for every platform, so without a marker."""
        return " ".join([f"{self.name}=={self.version}", *(f"--hash={h}" for h in self.hashes)])

    @property
    def key(self) -> Key:
        return canonicalize_name(self.name), str(Version(self.version))


def pins(lock: Path) -> list[Pin]:
    """All that a lock pins; raises StackError when a line of it is no pin with hashes."""
    text = lock.read_text(encoding="utf-8")
    found = [
        Pin(name, version, (*HASH.findall(rest),)) for name, version, rest in PIN.findall(text)
    ]
    lines = [line for line in text.splitlines() if line.strip() and line[0] not in " #"]
    if not found or len(found) != len(lines):
        told = f"{lock.name}: of {len(lines)} requirements {len(found)} are pinned with hashes"
        raise StackError(f"{told}: inv lock")
    return found
