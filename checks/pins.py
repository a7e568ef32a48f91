"""Parse the pins of a lock file, for the audit and the software bills of materials."""

import re
from dataclasses import dataclass
from pathlib import Path

from packaging.utils import canonicalize_name
from packaging.version import Version

from orchestration.errors import StackError

PIN = re.compile(r"^([\w.-]+)==([^\s;\\]+)(?: ;[^\\\n]*)?((?: \\\n +--hash=\S+)+)$", re.MULTILINE)
HASH = re.compile(r"--hash=(\S+)")
# A package's canonical name and normalized version.
Key = tuple[str, str]


@dataclass(frozen=True)
class Pin:
    """A package at one version, with the hashes (`sha256:…`) of its distribution files."""

    name: str
    version: str
    hashes: tuple[str, ...]

    def __str__(self) -> str:
        """Return a line of a requirements file, for every platform and so without a marker."""
        return " ".join([f"{self.name}=={self.version}", *(f"--hash={h}" for h in self.hashes)])

    @property
    def key(self) -> Key:
        return canonicalize_name(self.name), str(Version(self.version))


def pins(lock: Path) -> list[Pin]:
    """Return all pins of a lock file. Raises StackError if a requirement lacks version or hash."""
    text = lock.read_text(encoding="utf-8")
    entries = [
        Pin(name, version, (*HASH.findall(rest),)) for name, version, rest in PIN.findall(text)
    ]
    lines = [line for line in text.splitlines() if line.strip() and line[0] not in " #"]
    if not entries or len(entries) != len(lines):
        cause = f"{lock.name} pins {len(entries)} of {len(lines)} requirements with hashes."
        raise StackError(cause, fix="inv lock")
    return entries
